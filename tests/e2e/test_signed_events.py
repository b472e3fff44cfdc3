"""A node with trusted keys: what is not signed as it must be changes nothing, and is told."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import pytest
from grpc import aio

from headrace.publisher import (
    EventSecurity,
    KafkaConnection,
    ModelPublisher,
    RefusedByNode,
    WaitTimeout,
)
from headrace.publisher.clients import Message
from headrace.publisher.control_log import ControlLog
from headrace.publisher.fleet import Fleet, status_reader
from headrace.publisher.gate import Gate
from headrace.publisher.history import read_control
from headrace.publisher.key_files import write_private_key
from headrace.publisher.signing import Headers, SigningKey
from headrace.publisher.tail import tail
from headrace.publisher.trusted_keys import TrustedKey, TrustedKeys
from headrace.schemas.codec import encode
from headrace.schemas.records import (
    ModelConfig,
    ModelVersion,
    PolicyKind,
    ServableState,
    Validation,
    VersionPolicy,
    config_key,
    version_key,
)
from headrace.schemas.topics import EventHeader
from tests.e2e.rig import NodeProcess, Site, grpc_client
from tests.e2e.test_model_control import Client
from tests.models import model

X = {"x": [[1.0], [2.0], [5.0]]}
Y = [2.5, 3.0, 4.5]
OURS, OTHER, STRANGER = (SigningKey.generate() for _ in range(3))
TRUSTED = TrustedKeys(
    [TrustedKey(OURS.public, ("m*",), "ours"), TrustedKey(OTHER.public, ("spam",), "other")]
)
FAR_MS = 2**61

pytestmark = pytest.mark.timeout(240)


@dataclass(frozen=True)
class SignedSite:
    """A deployment whose nodes trust two keys, and what writes to its log."""

    site: Site
    trusted: Path
    signing: Path

    def publisher(self, key: SigningKey | None = OURS) -> ModelPublisher:
        """Return a publisher that signs with a key, or not at all."""
        trusted = TRUSTED if key in (OURS, OTHER) else None
        return ModelPublisher(
            self.site.connection,
            topics=self.site.topics,
            store=(self.site.folder / "store").as_uri(),
            security=EventSecurity(signing_key=key, trusted_keys=trusted),
        )

    async def write(self, key: bytes, value: bytes | None, headers: Headers = ()) -> int:
        """Append a record as anybody can who may write to the topic; return its offset."""
        async with self.site.connection.producer() as producer:
            sent = await producer.send(
                self.site.topics.control, key=key, value=value, headers=list(headers), partition=0
            )
            return (await sent).offset

    async def records(self) -> list[Message]:
        """Return the log as it is."""
        async with tail(self.site.connection, self.site.topics.control) as reader:
            return [message async for message in reader.to_end()]

    async def told(self, offset: int) -> str:
        """Return what the node says on the status topic of a record that it skipped."""

        def found(fleet: Fleet) -> str | None:
            node = fleet.nodes.get(f"{self.site.name}-node")
            return (node and node.skipped(offset)) or None

        async with status_reader(self.site.connection, self.site.topics) as reader:
            words = await reader.wait_for(found, 30)
        assert words, f"no word of offset {offset}"
        return words

    async def states(self) -> dict[tuple[str, int], ServableState]:
        """Return the state of every version on the node."""
        async with status_reader(self.site.connection, self.site.topics) as reader:
            node = reader.fleet.nodes.get(f"{self.site.name}-node")
            assert node
            return {name: status.state for name, status in node.servables.items()}


@pytest.fixture
def signed(bootstrap_servers: str, unique_name: str, tmp_path: Path) -> SignedSite:
    """Keys on disk, as `headrace keys generate` writes them."""
    trusted, signing = tmp_path / "trusted.toml", tmp_path / "ours.pem"
    trusted.write_text("\n".join(key.to_toml() for key in TRUSTED))
    write_private_key(signing, OURS.to_pem())
    site = Site(KafkaConnection(bootstrap_servers), unique_name, tmp_path)
    return SignedSite(site, trusted, signing)


@asynccontextmanager
async def trusting_node(
    signed: SignedSite, **settings: object
) -> AsyncGenerator[NodeProcess, None]:
    """Run a node with trusted keys that is ready."""
    async with signed.site.node(trusted_keys=signed.trusted, **settings) as node:
        await node.ready()
        yield node


async def attacks(signed: SignedSite) -> Sequence[tuple[str, str, bytes, bytes | None, Headers]]:
    """Return records that must not count: why, a word of the report, key, value and headers.

    The log has two versions of m, of which the second is retired, and a configuration.
    """
    log = await signed.records()
    key, value = version_key("m", 2), log[1].value
    assert log[1].key == key
    assert value

    def sign(signer: SigningKey, of: bytes, what: bytes | None, until_ms: int = FAR_MS) -> Headers:
        return signer.sign(of, what, generation=900, not_after_ms=until_ms)

    altered = value[:-1] + bytes([value[-1] ^ 1])
    pinned = VersionPolicy(kind=PolicyKind.SPECIFIC, versions=(2,))
    config = encode(ModelConfig(model="m", policy=pinned))
    raised = [
        (name, b"901" if name == EventHeader.GENERATION else text) for name, text in log[1].headers
    ]
    return [
        ("unsigned", "is not signed", key, value, ()),
        ("unsigned", "is not signed", config_key("m"), config, ()),
        ("unsigned", "is not signed", version_key("m", 1), None, ()),
        ("unknown_key", STRANGER.id, key, value, sign(STRANGER, key, value)),
        ("foreign_model", "'other'", key, value, sign(OTHER, key, value)),
        ("altered", "altered", key, altered, sign(OURS, key, value)),
        ("altered", "truncated", key, value[:-9], sign(OURS, key, value)),
        ("altered", "moved", version_key("m", 3), value, sign(OURS, key, value)),
        ("altered", "forged", key, value, raised),
        ("altered", "forged", version_key("m", 1), None, sign(OURS, version_key("m", 1), b"")),
        ("altered", "'signature' is missing", key, value, list(sign(OURS, key, value))[:3]),
        ("stale", "signed the event until", key, value, sign(OURS, key, value, 1_000_000)),
        ("replayed", "comes after generation", key, value, list(log[1].headers)),
        ("replayed", "comes after generation", log[0].key or b"", log[0].value, log[0].headers),
    ]


async def test_forged_events_change_nothing_and_are_told(signed: SignedSite) -> None:
    """On the status topic with the reason, in the log by name; and the same after a restart."""
    publisher = signed.publisher()
    offsets: list[tuple[int, str, str]] = []
    async with trusting_node(signed) as node:
        await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")
        await publisher.publish("m", 2, model("half_plus_two_tf1"), wait="fleet")
        await publisher.retire("m", 2, wait="fleet")
        await publisher.configure(ModelConfig(model="m", labels={"stable": 1}))
        before = await signed.states()
        async with grpc_client(node) as client:
            for reason, words, key, value, headers in await attacks(signed):
                offset = await signed.write(key, value, headers)
                offsets.append((offset, reason, words))
                told = await signed.told(offset)
                assert words in told, (reason, told)
                await node.event("control_record.refused", offset=offset, reason=reason)
                assert await client.predict("m", X) == ({"y": Y}, 1)
                assert await client.predict("m", X, label="stable") == ({"y": Y}, 1)
        assert await signed.states() == before
        assert await node.stop() == 0
    async with trusting_node(signed) as node:
        for offset, reason, _words in offsets:
            await node.event("control_record.refused", offset=offset, reason=reason)
        async with grpc_client(node) as client:
            assert await client.predict("m", X) == ({"y": Y}, 1)
            # What is signed goes on to count.
            await publisher.republish("m", 2)
            await node.event("version.available", version=2)
            assert await client.predict("m", X) == ({"y": Y}, 2)


async def test_publisher_is_told_that_its_event_is_refused(signed: SignedSite) -> None:
    """Waiting for the fleet ends with the node's reason, and not at the timeout."""
    async with trusting_node(signed):
        for key, words in ((None, "is not signed"), (STRANGER, "which is not trusted")):
            with pytest.raises(RefusedByNode, match=rf"skipped the event at offset .*{words}"):
                await signed.publisher(key).publish(
                    "m", 1, model("half_plus_two"), wait="fleet", timeout=60
                )
        await signed.publisher().publish("m", 1, model("half_plus_two"), wait="fleet")
        with pytest.raises(WaitTimeout, match=r"AVAILABLE, skipped the event at offset .* signed"):
            await signed.publisher(None).retire("m", 1, wait="fleet", timeout=2)


@asynccontextmanager
async def client_of(signed: SignedSite, node: NodeProcess) -> AsyncGenerator[Client, None]:
    """Open a client that changes what the node serves."""
    async with aio.insecure_channel(f"127.0.0.1:{await node.port()}") as channel:
        yield Client(signed.site, channel)


async def reload(client: Client, name: str) -> aio.AioRpcError | None:
    """Ask for a model; return the refusal, if there is one."""
    try:
        await client.reload({"name": name, "base_path": client.base(name, v1="half_plus_two")})
    except aio.AioRpcError as error:
        return error
    return None


async def test_node_signs_what_clients_ask_for(signed: SignedSite) -> None:
    """With a key of its own, for the models of that key."""
    store = (signed.site.folder / "store").as_uri()
    async with (
        trusting_node(signed, signing_key=signed.signing, store=store) as node,
        client_of(signed, node) as client,
    ):
        assert await reload(client, "m") is None
        assert await client.predictions.predict("m", X) == ({"y": Y}, 1)
        refusal = await reload(client, "spam")
        assert refusal
        assert refusal.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "may sign for models m*, and not for 'spam'" in (refusal.details() or "")
    entries = await read_control(signed.site.connection, signed.site.topics, Gate(TRUSTED))
    assert [(entry.key, entry.signed_by) for entry in entries] == [
        (b"version/m/1", f"'ours' ({OURS.id})")
    ]


async def test_node_without_a_key_takes_no_orders(signed: SignedSite) -> None:
    """It would write what its own fleet refuses."""
    async with trusting_node(signed) as node, client_of(signed, node) as client:
        refusal = await reload(client, "m")
        assert refusal
        assert refusal.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "it has --trusted-keys and no --signing-key" in (refusal.details() or "")
    assert await signed.records() == []


async def test_node_does_not_start_with_a_key_that_is_not_trusted(signed: SignedSite) -> None:
    """One line says which key, and what to do."""
    file = signed.site.folder / "stranger.pem"
    write_private_key(file, STRANGER.to_pem())
    async with signed.site.node(trusted_keys=signed.trusted, signing_key=file) as node:
        assert await node.process.wait() == 1
    (line,) = [line for line in node.plain if line.startswith("headrace serve:")]
    assert f"signing key {STRANGER.id} is not among the trusted keys" in line


async def test_only_validated_versions_are_served_where_that_is_asked(signed: SignedSite) -> None:
    """One that was not is refused in words; and clients cannot bring any."""
    store = (signed.site.folder / "store").as_uri()
    async with (
        trusting_node(
            signed, signing_key=signed.signing, require_validation=True, store=store
        ) as node,
        client_of(signed, node) as client,
    ):
        publisher = signed.publisher()
        with pytest.raises(RefusedByNode, match=r"version 1 of 'm' was not validated"):
            await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")
        log = ControlLog(
            signed.site.connection,
            signed.site.topics,
            create_topics=False,
            security=publisher.security,
        )
        record = (await log.read())[-1].record
        assert isinstance(record, ModelVersion)
        validated = replace(record, validation=Validation(examples=3))
        await log.append(version_key("m", 1), validated, 20)
        await node.event("version.available", version=1)
        assert await client.predictions.predict("m", X) == ({"y": Y}, 1)
        refusal = await reload(client, "m2")
        assert refusal
        assert refusal.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "--require-validation" in (refusal.details() or "")
        assert await client.predictions.predict("m", X) == ({"y": Y}, 1)
    assert len(await signed.records()) == 2
