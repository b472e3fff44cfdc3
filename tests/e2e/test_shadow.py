"""Shadows on a whole node: what callers see does not change, and what is compared arrives."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

import aiohttp
import grpc
import numpy as np
import pytest

from headrace.cli.broker import EmbeddedBroker
from headrace.publisher import Inference, InferenceClient, KafkaConnection, ModelPublisher
from headrace.publisher.configuration import ConfigChange
from headrace.schemas.comparison import Agreement, ShadowComparison
from headrace.schemas.records import Tolerance
from tests.e2e.rig import NodeProcess, Site, deployment, grpc_client
from tests.e2e.shadows import applied, comparisons, correlations
from tests.models import model

X = {"x": [[1.0], [2.0], [200.0]]}
Y = [2.5, 3.0, 102.0]

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def site(bootstrap_servers: str, unique_name: str, tmp_path: Path) -> Site:
    """A deployment of this test's own on the shared broker."""
    return Site(KafkaConnection(bootstrap_servers), unique_name, tmp_path)


async def publish(publisher: ModelPublisher, **models: str) -> None:
    """Publish version 1 of each model, given as `m="half_plus_two"`, and wait for it."""
    for name, built in models.items():
        await publisher.publish(name, 1, model(built), wait="fleet", timeout=60)


async def mirror(
    site: Site, publisher: ModelPublisher, name: str, target: str, tolerance: float | None = None
) -> None:
    """Mirror all requests of a model, from the return on."""
    tolerances = None if tolerance is None else {"": Tolerance(absolute=tolerance)}
    change = ConfigChange(model=name, shadow_target=target, shadow_tolerances=tolerances)
    await applied(site, (await publisher.configure(change)).control_offset)


async def rest(node: NodeProcess, path: str, body: object) -> tuple[int, object]:
    """Return status and JSON that the node answers with over HTTP."""
    url = f"http://127.0.0.1:{await node.port('http')}{path}"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        return response.status, await response.json()


REST = [
    ("/v1/models/m:predict", {"instances": X["x"]}, "outputs"),
    ("/v1/models/m:predict", {"inputs": {"x": X["x"]}}, "outputs"),
    (
        "/v2/models/m/infer",
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [200.0]}]},
        "y",
    ),
]


async def test_requests_of_every_door_are_compared_and_answered_as_ever(site: Site) -> None:
    """Both provenances, both latencies, what differs and by how much; callers see nothing of it."""
    async with (
        deployment(site) as (node, publisher),
        grpc_client(node) as client,
        site.client() as stream,
        comparisons(site) as found,
    ):
        await publish(publisher, m="half_plus_two", n="half_plus_drift")
        before = [await rest(node, path, body) for path, body, _ in REST]
        await mirror(site, publisher, "m", "n")
        assert await client.predict("m", X) == ({"y": Y}, 1)
        (record,) = await found.take(1)
        fleet = {each.model: each for each in (record.primary, record.shadow)}
        assert record.model == record.primary.model == "m"
        assert (record.shadow.model, record.shadow.version) == ("n", 1)
        assert (fleet["m"].control_offset, fleet["n"].control_offset) == (0, 1)
        assert fleet["m"].digest != fleet["n"].digest
        assert all(each.latency_micros > 0 for each in fleet.values())
        assert (record.node, record.agreement) == (f"{site.name}-node", Agreement.DIFFERS)
        (difference,) = record.differences
        assert (difference.output, difference.differing, difference.max_absolute) == ("y", 1, 0.25)

        for (path, body, output), answer in zip(REST, before, strict=True):
            assert await rest(node, path, body) == answer
            (record,) = await found.take(1)
            assert [(each.output, each.max_absolute) for each in record.differences] == [
                (output, 0.25)
            ]
        streamed = await stream.infer("m", {"x": np.array(X["x"], np.float32)})
        np.testing.assert_array_equal(streamed.outputs["y"].ravel(), np.array(Y, np.float32))
        (record,) = await found.take(1)
        assert record.differences[0].differing == 1

        await mirror(site, publisher, "m", "n", tolerance=0.25)
        assert await client.predict("m", X) == ({"y": Y}, 1)
        (record,) = await found.take(1)
        assert record.agreement is Agreement.AGREES
        with pytest.raises(grpc.aio.AioRpcError, match="missing: x"):
            await client.predict("m", {})
        (record,) = await found.take(1)
        assert record.agreement is Agreement.AGREES, "both refuse"
        assert record.primary.error_code == record.shadow.error_code == "INVALID_ARGUMENT"


async def test_classifications_and_regressions_are_compared(site: Site) -> None:
    """By REST; two builds of one model agree."""
    async with deployment(site) as (node, publisher), comparisons(site) as found:
        await publish(publisher, m="judge", n="judge_tf1")
        await mirror(site, publisher, "m", "n")
        examples = [{"x": 0.25}, {"x": 3.0}]
        for method, signature in (("classify", "serving_default"), ("regress", "regress")):
            body = {"signature_name": signature, "examples": examples}
            status, _ = await rest(node, f"/v1/models/m:{method}", body)
            assert status == 200
            (record,) = await found.take(1)
            assert (record.agreement, record.differences) == (Agreement.AGREES, ())


async def ask_many(stream: InferenceClient, count: int) -> list[list[float]]:
    """Ask m over Kafka so often, with keys, and return the values of the answers."""
    requests = [("m", {"x": np.array([[float(n)]], np.float32)}) for n in range(count)]
    keys = [b"%d" % (n % 40) for n in range(count)]
    answers = await stream.infer_many(requests, keys=keys, timeout=60)
    assert all(isinstance(answer, Inference) for answer in answers)
    return [a.outputs["y"].tolist() for a in answers if isinstance(a, Inference)]


async def test_answers_over_kafka_and_their_order_are_the_same_with_a_shadow(site: Site) -> None:
    """And every request is compared, or counted as missed."""
    count = 2000
    async with (
        deployment(site) as (node, publisher),
        grpc_client(node) as client,
        site.client() as stream,
        comparisons(site) as found,
    ):
        await publish(publisher, m="half_plus_two", n="half_plus_drift")
        without = await ask_many(stream, count)
        await mirror(site, publisher, "m", "n")
        assert await ask_many(stream, count) == without
        asked = await correlations(site, site.topics.requests, 2 * count)
        assert await correlations(site, site.topics.responses, 2 * count) == asked
        accounted = 0
        while accounted < count:
            # What was missed last is told with the next comparison.
            await client.predict("m", X)
            (record,) = await found.take(1)
            accounted += 1 + record.missed


async def test_a_shadow_that_dies_or_errs_harms_nobody(site: Site) -> None:
    """It is compared as a failure, by code; the request that killed it kills no worker of ours."""

    def is_failure(record: ShadowComparison) -> bool:
        return record.agreement is Agreement.FAILED

    async with (
        deployment(site) as (node, publisher),
        grpc_client(node) as client,
        comparisons(site) as found,
    ):
        await publish(publisher, m="with_default", picky="picky", brittle="brittle")
        await mirror(site, publisher, "m", "picky")
        assert (await client.predict("m", {"x": [100.0]}))[0]["y"] == [110.0]
        (record,) = await found.take(1, is_failure)
        assert record.shadow.error_code in {"INTERNAL", "INVALID_ARGUMENT"}
        await mirror(site, publisher, "m", "brittle")
        assert (await client.predict("m", {"x": [13.0]}))[0]["y"] == [23.0]
        (record,) = await found.take(1, is_failure)
        assert (record.shadow.model, record.shadow.error_code) == ("brittle", "UNAVAILABLE")
        answers = await asyncio.gather(
            *(client.predict("m", {"x": [float(n)]}) for n in (1, 13, 2, 13, 3, 13))
        )
        assert [outputs["y"][0] for outputs, _ in answers] == [11, 23, 12, 23, 13, 23]
        deaths = {e["model"] for e in node.events if e["event"] == "worker.died"}
        assert deaths == {"brittle"}


async def test_a_shadow_that_hangs_harms_nobody_and_no_shutdown(site: Site) -> None:
    """With its worker stopped and its queue full the node goes on, and then ends as ever."""
    async with (
        deployment(site, shadow_max_calls=50, shadow_timeout_seconds=100) as (node, publisher),
        grpc_client(node) as client,
    ):
        await publish(publisher, m="half_plus_two", n="half_plus_drift")
        await mirror(site, publisher, "m", "n")
        worker = int((await node.event("version.loaded", model="n"))["pid"])
        os.kill(worker, signal.SIGSTOP)
        for _ in range(10):
            answers = await asyncio.gather(*(client.predict("m", X) for _ in range(20)))
            assert all(answer == ({"y": Y}, 1) for answer in answers)
        assert await node.stop() == 0


async def test_a_target_that_is_retired_is_reported_by_name(site: Site) -> None:
    """Requests are answered as before; a comparison says that there is nobody to ask."""
    async with (
        deployment(site) as (node, publisher),
        grpc_client(node) as client,
        comparisons(site) as found,
    ):
        await publish(publisher, m="half_plus_two", n="half_plus_drift")
        await mirror(site, publisher, "m", "n")
        await publisher.retire("n", 1, wait="fleet")
        assert await client.predict("m", X) == ({"y": Y}, 1)
        (record,) = await found.take(1)
        assert (record.agreement, record.shadow.error_code) == (Agreement.FAILED, "NOT_FOUND")
        assert "Latest(n)" in record.shadow.error


async def test_comparing_survives_the_death_of_its_process_and_of_the_broker(
    tmp_path: Path, unique_name: str
) -> None:
    """Requests are answered all the while; comparisons come again."""
    broker = EmbeddedBroker(data_dir=tmp_path / "kafka")
    await broker.start()
    servers = broker.bootstrap_servers
    site = Site(KafkaConnection(servers), unique_name, tmp_path)
    try:
        async with deployment(site) as (node, publisher), grpc_client(node) as client:
            await publish(publisher, m="half_plus_two", n="half_plus_two_tf1")
            await mirror(site, publisher, "m", "n")
            async with comparisons(site) as found:
                await client.predict("m", X)
                await found.take(1)
            comparer = int((await node.event("shadow.comparer_started"))["pid"])
            os.kill(comparer, signal.SIGKILL)
            starting = asyncio.create_task(node.event("shadow.comparer_started", occurrence=2))
            while not starting.done():
                assert await client.predict("m", X) == ({"y": Y}, 1)
                await asyncio.wait([starting], timeout=0.1)
            assert starting.result()["pid"] != comparer
            await broker.stop()
            for _ in range(20):
                assert await client.predict("m", X) == ({"y": Y}, 1)
            broker = EmbeddedBroker(port=int(servers.split(":")[1]), data_dir=tmp_path / "kafka")
            await broker.start()
            back_at_ms = time.time_ns() // 1_000_000
            async with comparisons(site) as found:
                reading = asyncio.create_task(found.take(1, lambda r: r.at_ms > back_at_ms))
                while not reading.done():
                    assert await client.predict("m", X) == ({"y": Y}, 1)
                    await asyncio.wait([reading], timeout=0.1)
                assert reading.result()[0].agreement is Agreement.AGREES
            assert await node.stop() == 0
    finally:
        await broker.stop()


async def test_the_report_says_what_was_compared(site: Site) -> None:
    """As a shell sees it: one line, tables, JSON; another model has no comparisons."""

    async def headrace(*arguments: str) -> tuple[str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headrace.cli", "shadow", "report", *arguments),
            *("--bootstrap-servers", site.connection.bootstrap_servers),
            env={**os.environ, "HEADRACE_SHADOW_TOPIC": site.topics.shadow},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, err
        return out.decode(), err.decode()

    async with (
        deployment(site) as (node, publisher),
        grpc_client(node) as client,
        comparisons(site) as found,
    ):
        await publish(publisher, m="half_plus_two", n="half_plus_drift")
        await mirror(site, publisher, "m", "n")
        for value in (1.0, 200.0, 300.0, 2.0):
            await client.predict("m", {"x": [[value]]})
            await found.take(1)
        report = json.loads((await headrace("m", "--json"))[0])
        assert (report["compared"], report["agreement"], report["missed"]) == (4, 0.5, 0)
        (versions,) = report["versions"]
        assert versions["primary"] == {"model": "m", "version": 1}
        assert versions["shadow"] == {"model": "n", "version": 1}
        assert versions["outputs"] == [
            {"output": "y", "differs": 2, "max_absolute": 0.25, "reason": None}
        ]
        assert versions["latency_micros"]["primary"]["p99"] > 0
        assert "4 compared, 50.00 % agree" in (await headrace("m", "--since", "1h"))[0]
        out, err = await headrace("n")
        assert (out, err) == ("", "no comparisons of 'n' on the shadow topic\n")
