"""The gRPC door with TLS, asked by grpc's own secure channels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import pytest
from grpc import aio

from headrace.consumer.core.certificates import Certificates, TlsFiles
from headrace.consumer.rpc import GrpcDoor
from tests.certificates import Authority, Identity, replace_file
from tests.fakes.half_plus_two import predict_request
from tests.integration.consumer.rpc.rig import OPTIONS, Rig, ready_rig, refusal

PREDICT = "/tensorflow.serving.PredictionService/Predict"
REQUEST = predict_request("half_plus_two", [1.0]).SerializeToString()


@dataclass(frozen=True)
class Site:
    """Who vouches for the node, and for its callers."""

    nodes: Authority
    callers: Authority
    identity: Identity

    def files(self, *, mutual: bool = False) -> TlsFiles:
        """Return what the node is given."""
        return TlsFiles(
            certificate=self.identity.certificate,
            key=self.identity.key,
            client_ca=self.callers.certificate if mutual else None,
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Two authorities, and a certificate of `localhost`."""
    nodes = Authority.create(tmp_path / "nodes")
    return Site(nodes, Authority.create(tmp_path / "callers"), nodes.issue("localhost"))


@asynccontextmanager
async def listening(files: TlsFiles) -> AsyncGenerator[int, None]:
    """Open a door that follows its files, and return its port."""
    certificates = Certificates(files, check_seconds=0.01)
    certificates.load()
    rig: Rig = ready_rig(replace(OPTIONS, certificates=certificates))
    rig.serve("half_plus_two", 3)
    async with (
        asyncio.TaskGroup() as tasks,
        GrpcDoor(rig.serving_map, rig.monitor, rig.readiness, rig.options) as door,
    ):
        watching = tasks.create_task(certificates.watch())
        yield door.port
        watching.cancel()


def secured(port: int, trusted: Path, identity: Identity | None = None) -> aio.Channel:
    """Return a channel that trusts an authority, and may show a certificate."""
    credentials = grpc.ssl_channel_credentials(
        trusted.read_bytes(),
        identity.key.read_bytes() if identity else None,
        identity.certificate.read_bytes() if identity else None,
    )
    arguments = (
        ("grpc.ssl_target_name_override", "localhost"),
        # Else a channel to the same address would take over the connection of another.
        ("grpc.use_local_subchannel_pool", 1),
    )
    return aio.secure_channel(f"127.0.0.1:{port}", credentials, arguments)


def predict(channel: aio.Channel) -> aio.UnaryUnaryCall[bytes, bytes]:
    """Begin a call."""
    call: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PREDICT)
    return call(REQUEST, timeout=20)


async def refused(channel: aio.Channel) -> None:
    """Expect that the connection does not come about."""
    async with channel:
        assert (await refusal(predict(channel))).code() is grpc.StatusCode.UNAVAILABLE


async def test_client_that_trusts_the_authority_is_answered(site: Site) -> None:
    """And one without TLS, or with another trust, is not."""
    async with listening(site.files()) as port:
        async with secured(port, site.nodes.certificate) as channel:
            assert await predict(channel)
        await refused(secured(port, site.callers.certificate))
        await refused(aio.insecure_channel(f"127.0.0.1:{port}"))


async def test_mutual_tls_refuses_callers_that_nobody_vouches_for(
    site: Site, tmp_path: Path
) -> None:
    """No certificate, and one of a stranger, are both not enough."""
    stranger = Authority.create(tmp_path / "strangers").issue("caller")
    async with listening(site.files(mutual=True)) as port:
        async with secured(port, site.nodes.certificate, site.callers.issue("caller")) as channel:
            assert await predict(channel)
        await refused(secured(port, site.nodes.certificate))
        await refused(secured(port, site.nodes.certificate, stranger))


async def connected(port: int, trusted: Path) -> None:
    """Wait until new connections are shown a certificate of this authority."""
    async with asyncio.timeout(30):
        while True:
            async with secured(port, trusted) as channel:
                if await predict(channel).code() is grpc.StatusCode.OK:
                    return
            await asyncio.sleep(0.01)


async def test_renewed_certificate_is_shown_to_new_connections(site: Site, tmp_path: Path) -> None:
    """Whoever is connected stays so; whoever comes sees the new certificate only."""
    successors = Authority.create(tmp_path / "successors")
    async with (
        listening(site.files()) as port,
        secured(port, site.nodes.certificate) as early,
    ):
        assert await predict(early)
        site.identity.renew(successors.issue("localhost"))
        await connected(port, successors.certificate)
        await refused(secured(port, site.nodes.certificate))
        assert await predict(early)


async def test_renewed_authority_holds_for_new_callers(site: Site, tmp_path: Path) -> None:
    """An authority that is not trusted any more vouches for nobody."""
    successors = Authority.create(tmp_path / "successors")
    old, new = site.callers.issue("caller"), successors.issue("caller")
    async with listening(site.files(mutual=True)) as port:
        async with secured(port, site.nodes.certificate, old) as channel:
            assert await predict(channel)
        replace_file(site.callers.certificate, successors.certificate)
        async with asyncio.timeout(30):
            while True:
                async with secured(port, site.nodes.certificate, new) as channel:
                    if await predict(channel).code() is grpc.StatusCode.OK:
                        break
                await asyncio.sleep(0.01)
        await refused(secured(port, site.nodes.certificate, old))
