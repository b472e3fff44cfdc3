"""`headrace predict` at a real gRPC door, and over a real broker."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.consumer.core.certificates import Certificates, TlsFiles
from headrace.consumer.rpc import GrpcDoor
from headrace.publisher.clients import TopicPartition
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.topics import ensure_topics, partition_counts
from headrace.schemas import codec
from headrace.schemas.records import (
    InferenceError,
    InferenceRequest,
    InferenceResponse,
    ModelConfig,
)
from headrace.schemas.tensors import from_tensor, to_tensor
from headrace.schemas.topics import RequestHeader, Topics, specs
from tests.certificates import Authority
from tests.integration.cli.programs import Ended, headrace
from tests.integration.consumer.rpc.rig import OPTIONS, Rig, ready_rig

INPUTS = '{"x": [1.0, 2.0, 5.0]}'


@pytest.fixture
async def endpoint() -> AsyncGenerator[str, None]:
    """The address of a door that serves `half_plus_two` at version 3."""
    rig: Rig = ready_rig()
    rig.serve("half_plus_two", 3)
    async with GrpcDoor(rig.serving_map, rig.monitor, rig.readiness, rig.options) as door:
        yield f"127.0.0.1:{door.port}"


async def test_asks_by_grpc_with_the_dtype_of_the_signature(endpoint: str) -> None:
    """Whole numbers become the float32 that the model wants; the answer is one line of JSON."""
    arguments = ("predict", "half_plus_two", "--endpoint", endpoint)
    for inputs in (INPUTS, '{"x": [1, 2, 5]}'):
        ended = await headrace(*arguments, "--inputs", inputs)
        assert (ended.code, ended.err) == (0, "")
        assert json.loads(ended.out) == {
            "outputs": {"y": [2.5, 3.0, 4.5]},
            "model": "half_plus_two",
            "version": 3,
            "routed_by": "latest",
            "arm": None,
            "plan_offset": None,
        }
    piped = await headrace(*arguments, "--version", "3", "--inputs", "-", stdin=INPUTS)
    assert piped.code == 0


async def test_asks_with_tls_and_a_certificate_of_its_own(tmp_path: Path) -> None:
    """A node that wants certificates is asked like any other, with three more options."""
    authority = Authority.create(tmp_path / "authority")
    node, caller = authority.issue("localhost"), authority.issue("caller")
    certificates = Certificates(
        TlsFiles(certificate=node.certificate, key=node.key, client_ca=authority.certificate)
    )
    certificates.load()
    rig = ready_rig(replace(OPTIONS, certificates=certificates))
    rig.serve("half_plus_two", 3)
    async with GrpcDoor(rig.serving_map, rig.monitor, rig.readiness, rig.options) as door:
        arguments = (
            *("predict", "half_plus_two", "--inputs", INPUTS),
            *("--endpoint", f"localhost:{door.port}", "--tls-ca", str(authority.certificate)),
        )
        shown = ("--tls-certificate", str(caller.bundle))
        ended = await headrace(*arguments, *shown)
        assert (ended.code, ended.err) == (0, "")
        refused = await headrace(*arguments)
        assert (refused.code, refused.out) == (1, "")
        missing = await headrace(*arguments, *shown, "--tls-key", str(tmp_path / "none.pem"))
        assert (missing.code, "none.pem: No such file" in missing.err) == (1, True)


async def test_asks_an_arm_as_of_a_control_record() -> None:
    """Both calls carry affinity and offset; the answer tells how it was routed."""
    rig = ready_rig()
    rig.serve("half_plus_two", 3)
    rig.serving_map.model("alias").configure(
        ModelConfig(model="alias", split={"half_plus_two@3": 1})
    )
    routes = rig.serving_map.model("half_plus_two")
    routes.planned, routes.published = frozenset({3}), {3: 103}
    rig.serving_map.note_change(104)
    async with GrpcDoor(rig.serving_map, rig.monitor, rig.readiness, rig.options) as door:
        asked = ("predict", "alias", "--endpoint", f"127.0.0.1:{door.port}", "--inputs", INPUTS)
        ended = await headrace(*asked, "--affinity", "user-7", "--min-control-offset", "104")
        assert (ended.code, ended.err) == (0, "")
        answer = json.loads(ended.out)
        assert (answer["version"], answer["plan_offset"]) == (3, 104)
        assert (answer["routed_by"], answer["arm"]) == ("split", "half_plus_two@3")
        foreign = await headrace(*asked, "--affinity", "größe")
        assert (foreign.code, "cannot travel over gRPC" in foreign.err) == (1, True)
        late = await headrace(*asked, "--min-control-offset", "105", "--timeout", "0.5")
        assert late.code == 1
        assert late.err.startswith("error: UNAVAILABLE: the request wants control offset 105")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nobody", "--inputs", INPUTS), "error: NOT_FOUND: Servable not found for request"),
        (("half_plus_two", "--version", "9", "--inputs", INPUTS), "error: NOT_FOUND: "),
        (("half_plus_two", "--label", "x", "--inputs", INPUTS), "error: INVALID_ARGUMENT: "),
        (
            ("half_plus_two", "--inputs", '{"x": ["a"]}'),
            "error: input 'x' takes float32: text cannot be that without a change",
        ),
    ],
)
async def test_a_refusal_is_code_and_text_of_the_node(
    endpoint: str, arguments: tuple[str, ...], words: str
) -> None:
    """The node's own words, on one line, with exit code 1."""
    ended = await headrace("predict", *arguments, HEADRACE_ENDPOINT=endpoint)
    assert ended.code == 1
    assert ended.out == ""
    assert ended.err.startswith(words)
    assert ended.err.count("\n") == 1


async def test_asks_by_kafka(bootstrap_servers: str, unique_name: str) -> None:
    """The request has the dtypes that JSON suggests or `--dtype` names; the answer comes back."""
    request, ended = await _ask(
        bootstrap_servers,
        unique_name,
        ('{"x": [1, 2], "text": "a"}', "--dtype", "x=float64", "--label", "stable"),
        InferenceResponse(model=unique_name, version=5, outputs=(to_tensor("y", [1.5]),)),
    )
    assert request.label == "stable"
    inputs = {tensor.name: from_tensor(tensor) for tensor in request.inputs}
    assert inputs["x"].dtype == "float64"
    assert inputs["text"].tolist() == b"a"
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out) == {
        "outputs": {"y": [1.5]},
        "model": unique_name,
        "version": 5,
        "routed_by": None,
        "arm": None,
        "plan_offset": None,
    }


async def test_a_refusal_by_kafka_reads_as_by_grpc(
    bootstrap_servers: str, unique_name: str
) -> None:
    """Code and text of the answer, on one line, with exit code 1."""
    error = InferenceError(code="NOT_FOUND", message="Servable not found for request: x")
    _request, ended = await _ask(
        bootstrap_servers, unique_name, ("{}",), InferenceResponse(model=unique_name, error=error)
    )
    assert ended == Ended(1, "", "error: NOT_FOUND: Servable not found for request: x\n")


async def test_a_large_request_by_kafka_goes_to_the_claim_store(
    bootstrap_servers: str, unique_name: str, tmp_path: Path
) -> None:
    """The option names the store; without it the refusal says so."""
    await ensure_topics(KafkaConnection(bootstrap_servers), specs(Topics()))
    arguments = ("predict", unique_name, "--via", "kafka", "--timeout", "2", "--inputs", "-")
    inputs = json.dumps({"x": [0.5] * 300_000})
    where = {"HEADRACE_BOOTSTRAP_SERVERS": bootstrap_servers}
    refused = await headrace(*arguments, stdin=inputs, **where)
    assert refused.code == 1
    assert "--claim-store" in refused.err
    claimed = await headrace(*arguments, "--claim-store", str(tmp_path), stdin=inputs, **where)
    # Nobody answers: it was sent, and the payload is there.
    assert claimed.err == "error: DEADLINE_EXCEEDED: no answer in 2 s\n"
    assert len(await asyncio.to_thread(os.listdir, tmp_path)) == 1


async def _ask(
    bootstrap_servers: str, model: str, arguments: tuple[str, ...], response: InferenceResponse
) -> tuple[InferenceRequest, Ended]:
    """Run `predict` over Kafka, and answer its request as a node would."""
    connection = KafkaConnection(bootstrap_servers)
    topics = Topics()
    await ensure_topics(connection, specs(topics))
    async with connection.consumer(auto_offset_reset="earliest") as consumer, asyncio.timeout(60):
        count = (await partition_counts(connection, [topics.requests]))[topics.requests]
        consumer.assign([TopicPartition(topics.requests, number) for number in range(count)])
        running = asyncio.ensure_future(
            headrace(
                *("predict", model, "--via", "kafka", "--timeout", "30", "--inputs", *arguments),
                HEADRACE_BOOTSTRAP_SERVERS=bootstrap_servers,
            )
        )
        while True:
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                for message in batch:
                    request = codec.decode(message.value or b"", InferenceRequest)
                    if request.model != model:
                        continue
                    kept = (RequestHeader.CORRELATION_ID,)
                    headers = [header for header in message.headers if header[0] in kept]
                    async with connection.producer() as producer:
                        sent = await producer.send(
                            topics.responses, value=codec.encode(response), headers=headers
                        )
                        await sent
                    return request, await running
