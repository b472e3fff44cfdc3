"""Schema Registry framing, with the official serialisers and a registry in a process of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from headrace.consumer.core.errors import NodeError, RegistryUnavailable
from headrace.consumer.stream.registry import Registry, Unframed, is_framed, open_registry
from headrace.consumer.stream.registry_client import RegistryOptions
from headrace.schemas import codec
from headrace.schemas.errors import WireError
from headrace.schemas.records import InferenceError, InferenceRequest, InferenceResponse
from headrace.schemas.routes import read_route
from headrace.schemas.tensors import to_tensor
from headrace.schemas.writer_schemas import load_current

Json: TypeAlias = Any
# To a type checker these take no arguments.
SERIALIZER = cast("Callable[..., Callable[[object, SerializationContext], bytes]]", AvroSerializer)
DESERIALIZER = cast(
    "Callable[..., Callable[[bytes, SerializationContext], Json]]", AvroDeserializer
)
PROGRAM = Path(__file__).parents[3] / "fakes/schema_registry.py"
TOPIC = "headrace.requests"
REQUEST = InferenceRequest(
    model="m", version=7, inputs=(to_tensor("x", np.array([1, 2, 5], np.float32)),)
)
CONTEXT = SerializationContext(TOPIC, MessageField.VALUE)


class RegistryProcess:
    """A registry that runs, and the official client of it."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self._process = process
        self.url = url
        self.client = SchemaRegistryClient({"url": url})

    def asked(self) -> list[str]:
        """Return what the registry was asked so far."""
        with urllib.request.urlopen(f"{self.url}/asked", timeout=10) as answer:
            found: list[str] = json.load(answer)
        return found

    def register(self, schema: Json, subject: str = "s", **more: Json) -> int:
        """Register a schema and return its id."""
        text = schema if isinstance(schema, str) else json.dumps(schema)
        return self.client.register_schema(subject, Schema(text, **more))

    async def stop(self) -> None:
        """End the process."""
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def running(*arguments: str) -> AsyncGenerator[RegistryProcess]:
    """Run a registry in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    async with asyncio.timeout(20):
        line = (await process.stdout.readline()).decode()
    registry = RegistryProcess(process, line.partition("url=")[2].strip())
    try:
        yield registry
    finally:
        cast("Any", registry.client).__exit__(None, None, None)
        await registry.stop()


@pytest.fixture
async def server() -> AsyncGenerator[RegistryProcess]:
    """A registry without schemas."""
    async with running() as registry:
        yield registry


def options(url: str, timeout_seconds: float = 10.0) -> RegistryOptions:
    """Return options for a registry."""
    return RegistryOptions(url=url, timeout_seconds=timeout_seconds)


def as_fields(request: InferenceRequest, _context: object = None) -> dict[str, Any]:
    """Return a request as an Avro library wants it."""
    return asdict(request)


def request_bytes(server: RegistryProcess, request: InferenceRequest = REQUEST) -> bytes:
    """Return a request as the official serialiser writes it, with our own schema."""
    schema = json.dumps(load_current("InferenceRequest"))
    return SERIALIZER(server.client, schema, as_fields)(request, CONTEXT)


def framed(schema_id: int, datum: bytes = b"datum") -> bytes:
    """Return a framed value."""
    return b"\x00" + schema_id.to_bytes(4) + datum


async def unframed(registry: Registry, value: bytes) -> Unframed:
    """Return what becomes of one value."""
    (result,) = await registry.unframe([value])
    return result


async def test_request_of_our_schema_changes_its_header_only(server: RegistryProcess) -> None:
    """What the official serialiser writes is what our publisher would have written."""
    value = request_bytes(server)
    assert is_framed(value)
    async with open_registry(options(server.url)) as registry:
        assert await unframed(registry, value) == codec.encode(REQUEST)


async def test_values_without_a_frame_stay_as_they_are(server: RegistryProcess) -> None:
    """Both encodings may come mixed on one topic, and keep their places."""
    plain = codec.encode(REQUEST)
    value = request_bytes(server)
    async with open_registry(options(server.url)) as registry:
        assert await registry.unframe([plain, value, b"", b"\xff", value]) == [
            plain,
            plain,
            b"",
            b"\xff",
            plain,
        ]
        assert await registry.unframe([]) == []


async def test_schema_is_fetched_once(server: RegistryProcess) -> None:
    """Also when many batches meet it at the same time."""
    value = request_bytes(server)
    async with open_registry(options(server.url)) as registry:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(20):
                tasks.create_task(registry.unframe([value, value]))
        await registry.unframe([value])
    fetched = [line for line in server.asked() if line.startswith("GET schemas/ids/")]
    assert len(fetched) == 1


async def test_unknown_schema_is_asked_for_once(server: RegistryProcess) -> None:
    """Also when many batches meet it at the same time: that it is not there is remembered."""
    async with open_registry(options(server.url)) as registry:
        results = await asyncio.gather(*[unframed(registry, framed(77)) for _ in range(20)])
    assert all(isinstance(result, WireError) for result in results)
    assert server.asked() == ["GET schemas/ids/77"]


async def test_request_of_another_schema_is_read_by_avros_rules(server: RegistryProcess) -> None:
    """Fields in another order, a field of their own, and one of ours left to its default."""
    ours = load_current("InferenceRequest")
    theirs = {
        **ours,
        "fields": [
            {"name": "tenant", "type": "string"},
            *[f for f in reversed(ours["fields"]) if f["name"] != "output_filter"],
        ],
    }

    def fields(request: InferenceRequest, _context: object) -> dict[str, Any]:
        return {**asdict(request), "tenant": "t"}

    value = SERIALIZER(server.client, json.dumps(theirs), fields)(REQUEST, CONTEXT)
    async with open_registry(options(server.url)) as registry:
        cut, whole = await registry.unframe([value[:-1], value])
        assert whole == codec.encode(REQUEST)
        assert isinstance(cut, WireError)
        assert "cut short" in str(cut)


ITEMS_OF_NOTHING = {
    "type": "record",
    "namespace": "headrace",
    "name": "InferenceRequest",
    "fields": [{"name": "n", "type": {"type": "array", "items": "null"}}],
}
OTHER = {"type": "record", "name": "Other", "fields": [{"name": "n", "type": "string"}]}


UNUSABLE: list[tuple[Json, dict[str, Any], str]] = [
    (ITEMS_OF_NOTHING, {}, "items that take no bytes"),
    (OTHER, {}, "hold Other where headrace.InferenceRequest"),
    ('"string"', {}, "describes no record"),
    ("nonsense", {}, "not an Avro schema"),
    ("{}", {"schema_type": "JSON"}, "is JSON; expected AVRO"),
    (OTHER, {"references": [SchemaReference("a", "b", 1)]}, "refers to other subjects"),
    (None, {}, "has no schema 77"),
]


@pytest.mark.parametrize(("schema", "more", "words"), UNUSABLE)
async def test_schema_that_cannot_be_used_is_the_senders_fault(
    schema: Json, more: dict[str, Any], words: str, server: RegistryProcess
) -> None:
    """Unsafe, foreign, of another kind or unknown: said in words, and asked for once."""
    value = framed(77 if schema is None else server.register(schema, **more), b"\x02a")
    async with open_registry(options(server.url)) as registry:
        for _ in range(2):
            result = await unframed(registry, value)
            assert isinstance(result, WireError)
            assert words in str(result)
    assert len([line for line in server.asked() if line.startswith("GET schemas/ids/")]) == 1


async def test_too_short_a_frame_is_none(server: RegistryProcess) -> None:
    """A zero byte alone names no schema: what reads the route says what is wrong."""
    async with open_registry(options(server.url)) as registry:
        for value in (b"\x00", b"\x00\x00\x00\x00\x01"):
            assert await unframed(registry, value) == value
            with pytest.raises(WireError, match="schema registry's framing"):
                read_route(value)
    assert not server.asked()


async def test_answers_are_read_by_the_official_deserialiser(server: RegistryProcess) -> None:
    """Outputs and errors alike; the schema is registered for the reply topic, once."""
    responses = [
        InferenceResponse(model="m", version=7, outputs=(to_tensor("y", np.array([b"a"])),)),
        InferenceResponse(model="m", error=InferenceError(code="NOT_FOUND", message="no")),
    ]
    async with open_registry(options(server.url)) as registry:
        values = await registry.frame("replies", [codec.encode(each) for each in responses])
        assert await registry.frame("replies", []) == []
    latest = server.client.get_latest_version("replies-value")
    assert latest.schema.schema_str
    assert json.loads(latest.schema.schema_str)["name"] == "InferenceResponse"
    read = DESERIALIZER(server.client)
    for response, value in zip(responses, values, strict=True):
        found = read(value, SerializationContext("replies", MessageField.VALUE))
        expected = json.loads(json.dumps(asdict(response), default=list))
        assert json.loads(json.dumps(found, default=list)) == expected
    asked = server.asked()
    assert asked.count("POST subjects/replies-value/versions") == 1


async def test_answer_schema_that_is_registered_is_only_looked_up(server: RegistryProcess) -> None:
    """Where an operator registers schemas, the node need not be allowed to."""
    id_ = server.register(load_current("InferenceResponse"), subject="replies-value")
    value = codec.encode(InferenceResponse(model="m"))
    before = len(server.asked())
    async with open_registry(options(server.url)) as registry:
        (answer,) = await registry.frame("replies", [value])
    assert answer == framed(id_, value[10:])
    assert server.asked()[before:] == ["POST subjects/replies-value"]


async def test_unreachable_registry_is_unavailable_and_comes_back(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests are refused for now, others go through, and nothing needs a restart."""
    monkeypatch.setattr("headrace.consumer.stream.registry.OUTAGE_SECONDS", 0.0)
    url = f"http://127.0.0.1:{unused_tcp_port}"
    plain = codec.encode(REQUEST)
    async with open_registry(options(url)) as registry:
        failed, passed = await registry.unframe([framed(1), plain])
        assert isinstance(failed, RegistryUnavailable)
        assert f"127.0.0.1:{unused_tcp_port} cannot be reached" in str(failed)
        assert passed == plain
        with pytest.raises(RegistryUnavailable):
            await registry.frame("replies", [codec.encode(InferenceResponse(model="m"))])
        async with running("--port", str(unused_tcp_port)) as server:
            value = request_bytes(server)
            assert await unframed(registry, value) == plain


async def test_known_schemas_need_no_registry(server: RegistryProcess) -> None:
    """An outage stops only what is new."""
    value = request_bytes(server)
    answer = codec.encode(InferenceResponse(model="m"))
    async with open_registry(options(server.url, 2.0)) as registry:
        await registry.unframe([value])
        (before,) = await registry.frame("replies", [answer])
        await server.stop()
        assert await unframed(registry, value) == codec.encode(REQUEST)
        assert await registry.frame("replies", [answer]) == [before]
        known, unknown = await registry.unframe([value, framed(99)])
        assert known == codec.encode(REQUEST)
        assert isinstance(unknown, RegistryUnavailable)


async def test_registry_that_fails_is_unavailable_and_its_words_are_given(
    server: RegistryProcess,
) -> None:
    """An error of the registry is no fault of the sender."""
    value = request_bytes(server)
    async with open_registry(options(server.url)) as registry:
        result, known = await registry.unframe([framed(500), value])
    assert known == codec.encode(REQUEST)
    assert isinstance(result, RegistryUnavailable)
    assert "the store is broken" in str(result)


async def test_registry_that_does_not_answer_costs_a_bounded_time() -> None:
    """However many batches and schemas wait for it; while it is out, it is not asked again."""
    connections = 0
    asked = asyncio.Event()

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        asked.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(swallow, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        batch = [framed(schema_id) for schema_id in range(1, 50)]
        async with (
            asyncio.timeout(10),
            open_registry(options(f"http://127.0.0.1:{port}", 0.5)) as registry,
        ):
            batches = await asyncio.gather(*[registry.unframe(batch) for _ in range(20)])
            assert asked.is_set()
            for result in [result for results in batches for result in results]:
                assert isinstance(result, RegistryUnavailable)
                assert "did not answer within 0.5 s" in str(result)
            before = connections
            await registry.unframe(batch)
            assert connections == before


async def test_basic_authentication(server: RegistryProcess) -> None:
    """By the address or by a setting; without it the registry's refusal is told, and no secret."""
    async with running("--user", "ann:s3cret") as guarded:
        host = guarded.url.removeprefix("http://")
        answer = [codec.encode(InferenceResponse(model="m"))]
        for allowed in (
            RegistryOptions(url=f"http://ann:s3cret@{host}"),
            RegistryOptions(url=guarded.url, user_info="ann:s3cret"),
        ):
            async with open_registry(allowed) as registry:
                assert is_framed((await registry.frame("replies", answer))[0])
        for refused in (guarded.url, f"http://ann:wr0ng@{host}"):
            async with open_registry(options(refused)) as registry:
                with pytest.raises(RegistryUnavailable, match="Unauthorized") as raised:
                    await registry.frame("replies", answer)
                assert "wr0ng" not in str(raised.value)


def self_signed(folder: Path) -> tuple[str, str]:
    """Make a certificate for 127.0.0.1 and return the paths of it and of its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=registry -keyout {key} "
        f"-out {certificate} -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(command.split(), check=True, capture_output=True, timeout=60)
    return str(certificate), str(key)


async def test_tls_trusts_the_certificates_given_and_no_others(tmp_path: Path) -> None:
    """A registry that nobody vouches for is not believed."""
    certificate, key = self_signed(tmp_path)
    answer = [codec.encode(InferenceResponse(model="m"))]
    async with running_tls(certificate, key) as url:
        async with open_registry(RegistryOptions(url=url, ca_file=certificate)) as registry:
            assert is_framed((await registry.frame("replies", answer))[0])
        async with open_registry(options(url)) as registry:
            with pytest.raises(RegistryUnavailable, match="cannot be reached"):
                await registry.frame("replies", answer)


@asynccontextmanager
async def running_tls(certificate: str, key: str) -> AsyncGenerator[str]:
    """Run a registry behind TLS."""
    async with running("--tls", certificate, key) as server:
        assert server.url.startswith("https://")
        yield server.url


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (RegistryOptions(url="ftp://x"), "Invalid url"),
        (RegistryOptions(url="http://x", user_info="ann"), "user.info"),
        (RegistryOptions(url="https://x", ca_file="/nowhere.pem"), "No such file"),
    ],
)
async def test_options_that_cannot_be_used_end_the_node(bad: RegistryOptions, words: str) -> None:
    """Before any request is read."""
    with pytest.raises(NodeError, match=words):
        async with open_registry(bad):
            pass


def hidden_import(statements: Sequence[str]) -> str:
    """Return what a fresh interpreter without the client prints for these statements."""
    script = "\n".join(["import sys", "sys.modules['confluent_kafka'] = None", *statements])
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    return run.stdout.strip()


def test_node_without_the_client_says_what_to_install() -> None:
    """The module imports without it; opening a registry is what needs it."""
    printed = hidden_import(
        [
            "import asyncio",
            "from headrace.consumer.core.errors import NodeError",
            "from headrace.consumer.stream.registry import open_registry",
            "from headrace.consumer.stream.registry_client import RegistryOptions",
            "registry = open_registry(RegistryOptions(url='http://x'))",
            "try: asyncio.run(registry.__aenter__())",
            "except NodeError as error: print(error)",
        ]
    )
    assert printed.endswith("install headrace[registry]")
