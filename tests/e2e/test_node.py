"""A whole node, from the event on the log to the answer at every door."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import numpy as np
import pytest

from headrace.cli.broker import EmbeddedBroker
from headrace.publisher import InferenceFailed, KafkaConnection, RefusedByNode
from headrace.publisher.fleet import read_fleet
from headrace.schemas.codec import encode
from headrace.schemas.records import ModelVersion, ServableState, version_key
from tests.e2e.rig import GrpcClient, NodeProcess, Site, deployment, grpc_client
from tests.models import model

X = {"x": [[1.0], [2.0], [5.0]]}
Y = [2.5, 3.0, 4.5]

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def site(bootstrap_servers: str, unique_name: str, tmp_path: Path) -> Site:
    """A deployment of this test's own on the shared broker."""
    return Site(KafkaConnection(bootstrap_servers), unique_name, tmp_path)


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    async with asyncio.timeout(10):
        while alive(pid):
            await asyncio.sleep(0.01)


async def rest(node: NodeProcess, model: str, body: object) -> tuple[int, object]:
    """Return the status and the JSON that a predict request over HTTP is answered with."""
    url = f"http://127.0.0.1:{await node.port('http')}/v1/models/{model}:predict"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=body) as response,
    ):
        return response.status, await response.json()


async def test_published_version_answers_by_every_door_and_goes_when_retired(site: Site) -> None:
    """The main job: publish, load, answer over gRPC, HTTP and Kafka, retire."""
    async with (
        deployment(site) as (node, publisher),
        grpc_client(node) as client,
        site.client() as stream,
    ):
        published = await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")
        assert published.served_by == (f"{site.name}-node",)
        outputs, version = await client.predict("m", X)
        assert (outputs["y"], version) == (Y, 1)
        rows = {"instances": X["x"]}
        assert await rest(node, "m", rows) == (200, {"predictions": [[y] for y in Y]})
        answer = await stream.infer("m", {"x": np.array(X["x"], np.float32)})
        np.testing.assert_array_equal(answer.outputs["y"], np.array(Y, np.float32)[:, None])
        assert answer.version == 1
        await publisher.retire("m", 1, wait="fleet")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.predict("m", X)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        refused = {"error": "Servable not found for request: Latest(m)"}
        assert await rest(node, "m", rows) == (404, refused)
        with pytest.raises(InferenceFailed, match="Servable not found") as failed:
            await stream.infer("m", {"x": np.array(X["x"], np.float32)})
        assert failed.value.code == "NOT_FOUND"


async def test_swaps_under_load_fail_no_request_on_either_door(site: Site) -> None:
    """Six versions come and go while two clients ask without pause."""
    done = asyncio.Event()
    versions: dict[str, set[int | None]] = {"grpc": set(), "kafka": set()}
    async with (
        deployment(site) as (node, publisher),
        grpc_client(node) as client,
        site.client() as stream,
    ):
        await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")

        async def ask_grpc() -> None:
            while not done.is_set():
                outputs, version = await client.predict("m", X)
                assert outputs["y"] == Y
                versions["grpc"].add(version)

        async def ask_kafka() -> None:
            while not done.is_set():
                answer = await stream.infer("m", {"x": np.array(X["x"], np.float32)})
                assert answer.outputs["y"].ravel().tolist() == Y
                versions["kafka"].add(answer.version)

        async with asyncio.TaskGroup() as tasks:
            for ask in (ask_grpc, ask_grpc, ask_kafka, ask_kafka):
                tasks.create_task(ask())
            for number in range(1, 7):
                if number > 1:
                    await publisher.publish("m", number, model("half_plus_two"), wait="fleet")
                async with asyncio.timeout(30):
                    while any(number not in seen for seen in versions.values()):
                        await asyncio.sleep(0.01)
            done.set()
    assert versions["grpc"] == {1, 2, 3, 4, 5, 6}
    assert versions["kafka"] == {1, 2, 3, 4, 5, 6}


async def test_restarted_node_serves_the_same_versions_from_the_log_alone(site: Site) -> None:
    """SIGTERM ends it cleanly; the next one loads what is wanted and nothing superseded."""
    async with deployment(site) as (node, publisher):
        await publisher.publish("a", 1, model("half_plus_two"))
        await publisher.publish("a", 2, model("half_plus_two"))
        await publisher.publish("b", 7, model("half_plus_two_tf1"), wait="fleet")
        assert await node.stop() == 0
        await node.event("node.stopped")
    shutil.rmtree(site.folder / "cache")
    async with site.node() as again, grpc_client(again) as client:
        await again.ready()
        assert (await client.predict("a", X))[1] == 2
        assert (await client.predict("b", X))[1] == 7
        loaded = {
            (e["model"], e["version"]) for e in again.events if e["event"] == "version.loaded"
        }
        assert loaded == {("a", 2), ("b", 7)}


async def test_killed_node_leaves_no_process_behind(site: Site) -> None:
    """Kill -9 of the node ends zygote and workers; the status of the dead node is void."""
    async with deployment(site) as (node, publisher):
        await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")
        zygote = int((await node.event("zygote.started"))["pid"])
        worker = int((await node.event("version.loaded"))["pid"])
        assert alive(zygote)
        assert alive(worker)
        await node.stop(signal.SIGKILL)
        await gone(zygote)
        await gone(worker)
    async with site.node() as again:
        await again.ready()
        fleet = await read_fleet(site.connection, site.topics)
        status = fleet.nodes[f"{site.name}-node"].servable("m", 1)
        assert status is not None
        assert status.state is ServableState.AVAILABLE


async def test_sigterm_answers_what_is_running(site: Site) -> None:
    """Requests inside when the signal comes are answered; the node exits with 0."""
    async with deployment(site) as (node, publisher), grpc_client(node) as client:
        await publisher.publish("m", 1, model("sleepy"), wait="fleet")
        running = asyncio.ensure_future(client.predict("m", {"seconds": [1.0]}))
        over_http = asyncio.ensure_future(rest(node, "m", {"instances": [1.0]}))
        assert (await rest(node, "m", {"instances": [0.0]}))[0] == 200
        await client.predict("m", {"seconds": [0.0]})
        node.process.send_signal(signal.SIGTERM)
        await node.event("node.draining")
        assert (await running)[1] == 1
        assert (await over_http)[0] == 200
        async with asyncio.timeout(60):
            assert await node.process.wait() == 0


async def test_dead_worker_is_replaced_and_its_version_goes_on(site: Site) -> None:
    """Kill -9 of the worker between and under requests costs no answer."""
    async with deployment(site) as (node, publisher), grpc_client(node) as client:
        await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")
        worker = int((await node.event("version.loaded"))["pid"])
        os.kill(worker, signal.SIGKILL)
        answers = await asyncio.gather(*(client.predict("m", X) for _ in range(50)))
        assert all(outputs["y"] == Y for outputs, _ in answers)
        await node.event("worker.replaced")


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("hostile", "SIGABRT"),
        ("badly_warmed", "warm"),
        ("wrongly_warmed", "warm"),
    ],
)
async def test_version_that_cannot_load_leaves_the_old_one_serving(
    site: Site, broken: str, words: str
) -> None:
    """The publisher hears the node's words; the version before goes on."""
    async with (
        deployment(site, load_attempts=2) as (node, publisher),
        grpc_client(node) as client,
    ):
        await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")
        with pytest.raises(RefusedByNode, match=words):
            await publisher.publish("m", 2, model(broken), wait="fleet", allow_incompatible=True)
        assert (await client.predict("m", X))[1] == 1


@pytest.mark.parametrize("damage", ["gone", "flipped", "truncated"])
async def test_damaged_artefact_is_never_served(site: Site, damage: str) -> None:
    """Missing, altered and cut files are refused by name before anything loads them."""
    async with (
        deployment(site, load_attempts=2) as (node, publisher),
        grpc_client(node) as client,
    ):
        await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")
        fine = await publisher.publish("other", 1, model("half_plus_two_tf1"))
        await node.event("version.available", model="other")
        await publisher.retire("other", 1, wait="fleet")
        shutil.rmtree(site.folder / "cache")
        (store,) = [p for p in (site.folder / "store").iterdir() if fine.digest[7:] in p.name]
        (graph,) = store.rglob("saved_model.pb")
        bytes_before = graph.read_bytes()
        if damage == "gone":
            shutil.rmtree(store)
        elif damage == "flipped":
            graph.write_bytes(bytes([bytes_before[0] ^ 1]) + bytes_before[1:])
        else:
            graph.write_bytes(bytes_before[:-1])
        record = ModelVersion(
            model="m", version=2, uri=fine.uri, digest=fine.digest, size_bytes=1, publisher="test"
        )
        await site.write_control((version_key("m", 2), encode(record)))
        ended = await node.event("version.ended", model="m", version=2)
        assert "saved_model.pb" in ended["error"] or store.name in ended["error"]
        assert (await client.predict("m", X))[1] == 1


async def test_request_that_crashes_the_process_harms_no_neighbour(site: Site) -> None:
    """It alone is answered UNAVAILABLE, and the version goes on."""
    async with deployment(site) as (node, publisher), grpc_client(node) as client:
        await publisher.publish("m", 1, model("brittle"), wait="fleet")
        results = await asyncio.gather(
            *(client.predict("m", {"x": [float(n)]}) for n in (1, 2, 13, 3, 4)),
            return_exceptions=True,
        )
        failures = [r for r in results if isinstance(r, grpc.aio.AioRpcError)]
        assert [f.code() for f in failures] == [grpc.StatusCode.UNAVAILABLE]
        assert "SIGABRT" in (failures[0].details() or "")
        assert (await client.predict("m", {"x": [5.0]}))[0]["y"] == [5.0]


async def test_version_that_keeps_crashing_gives_way_to_the_last_good_one(site: Site) -> None:
    """When three workers in a row answered nothing, the version before is loaded again."""
    async with deployment(site) as (node, publisher), grpc_client(node) as client:
        await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")
        await publisher.publish("m", 2, model("brittle"), wait="fleet", allow_incompatible=True)
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError):
                await client.predict("m", {"x": [13.0]})
        ended = await node.event("version.ended", model="m", version=2)
        assert "3 times" in ended["error"]
        await node.event("version.available", model="m", version=1, occurrence=2)
        assert (await client.predict("m", X))[1] == 1


async def test_unreadable_control_records_are_reported_and_skipped(site: Site) -> None:
    """Garbage, an unknown fingerprint and a lying key: named on the status topic, harmless."""
    record = ModelVersion(model="m", version=1, uri="file:///x", digest="sha256:0", size_bytes=1)
    good = encode(record)
    bad: list[tuple[bytes | None, bytes]] = [
        (b"version/m/1", b"garbage"),
        (b"version/m/1", good[:2] + b"\x00" * 8 + good[10:]),
        (b"version/m/2", good),
        (b"strange", good),
    ]
    async with deployment(site) as (node, publisher), grpc_client(node) as client:
        await site.write_control(*bad)
        await publisher.publish("m", 3, model("half_plus_two"), wait="fleet")
        assert (await client.predict("m", X))[1] == 3
        skipped = [e["error"] for e in node.events if e["event"] == "control_record.skipped"]
        assert len(skipped) == len(bad)
        assert "unknown schema" in skipped[1]
        fleet = await read_fleet(site.connection, site.topics)
        heartbeat = fleet.nodes[f"{site.name}-node"].heartbeat
        assert heartbeat is not None
        assert len(heartbeat.control_errors) == len(bad)


BAD_REQUESTS = [
    pytest.param({"model": "nobody"}, "NOT_FOUND", "Servable not found", id="model"),
    pytest.param({"version": 9}, "NOT_FOUND", "Specific", id="version"),
    pytest.param({"label": "prod"}, "INVALID_ARGUMENT", "label", id="label"),
    pytest.param({"signature": "nope"}, "FAILED_PRECONDITION", "nope", id="signature"),
    pytest.param({"inputs": {"x": [[1]]}}, "INVALID_ARGUMENT", "int64", id="dtype"),
    pytest.param({"inputs": {}}, "INVALID_ARGUMENT", "missing: x", id="missing"),
    pytest.param(
        {"inputs": {"x": [[1.0]], "z": [1.0]}}, "INVALID_ARGUMENT", "unexpected: z", id="extra"
    ),
]


@pytest.mark.parametrize(("change", "code", "words"), BAD_REQUESTS)
async def test_bad_request_gets_the_same_code_and_text_at_both_doors(
    shared_site: Site, shared_port: int, change: dict[str, Any], code: str, words: str
) -> None:
    """One node for all rows; each row asks by gRPC and by Kafka."""
    arguments: dict[str, Any] = {"model": "m", "inputs": X} | change
    name: str = arguments.pop("model")
    inputs: dict[str, Any] = arguments.pop("inputs")
    dtype = np.int64 if words == "int64" else np.float32
    arrays = {alias: np.asarray(value, dtype) for alias, value in inputs.items()}
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{shared_port}") as channel,
        shared_site.client() as stream,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await GrpcClient(channel).predict(name, arrays, **arguments)
        with pytest.raises(InferenceFailed) as failed:
            await stream.infer(name, arrays, **arguments)
    assert refused.value.code().name == failed.value.code == code
    assert words in (refused.value.details() or "")
    assert failed.value.reason == refused.value.details()


async def test_taken_port_is_a_clear_error(site: Site) -> None:
    """Exit code 1 and one line that names the port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for door in ("grpc_port", "http_port"):
            async with site.node(**{door: port}) as node:
                async with asyncio.timeout(60):
                    assert await node.process.wait() == 1
            (line,) = [line for line in node.plain if line.startswith("headrace serve:")]
            assert str(port) in line
            assert not any("Traceback" in line for line in node.plain)


async def test_node_waits_for_a_broker_that_is_away_and_outlives_its_absence(
    unique_name: str, tmp_path: Path
) -> None:
    """Started before Kafka; then Kafka is killed under it: gRPC goes on, Kafka requests resume."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    site = Site(KafkaConnection(f"localhost:{port}"), unique_name, tmp_path / "node")
    async with site.node() as node:
        await node.event("kafka.unreachable")
        url = f"http://127.0.0.1:{await node.port('http')}/readyz"
        with pytest.raises(urllib.error.HTTPError, match="503"):
            await asyncio.to_thread(urllib.request.urlopen, url, timeout=10)
        broker = EmbeddedBroker(port=port, data_dir=tmp_path / "kafka")
        await broker.start()
        try:
            await node.ready()
            async with site.publisher() as publisher:
                await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")
            async with grpc_client(node) as client:
                await broker.stop()
                for _ in range(20):
                    assert (await client.predict("m", X))[1] == 1
                broker = EmbeddedBroker(port=port, data_dir=tmp_path / "kafka")
                await broker.start()
                async with site.publisher() as publisher, site.client() as stream:
                    await publisher.publish("m", 2, model("half_plus_two"), wait="fleet")
                    answer = await stream.infer("m", {"x": np.array(X["x"], np.float32)})
                    assert answer.version == 2
                assert (await client.predict("m", X))[1] == 2
            body = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read())
            assert json.loads(body)["ready"] is True
            assert await node.stop() == 0
        finally:
            await broker.stop()


async def test_two_nodes_serve_the_same_plan_and_share_the_requests(site: Site) -> None:
    """Both report the version; the requests of all partitions are answered while one leaves."""
    async with (
        deployment(site) as (_, publisher),
        site.node(node_id=f"{site.name}-two", cache_dir=site.folder / "cache2") as second,
        site.client() as stream,
    ):
        await second.ready()
        published = await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")
        assert len(published.served_by) == 2
        rows = np.array(X["x"], np.float32)
        requests = [("m", {"x": rows})] * 200
        first = await stream.infer_many(requests)
        leaving = asyncio.ensure_future(second.stop())
        rest = await stream.infer_many(requests)
        assert await leaving == 0
    for answer in [*first, *rest]:
        assert not isinstance(answer, InferenceFailed), answer
        assert answer.outputs["y"].ravel().tolist() == Y
