"""A whole node behind TLS and on a Unix socket, and two nodes on one port."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path
from ssl import create_default_context
from tempfile import TemporaryDirectory

import grpc
import pytest
from grpc import aio

from headrace.publisher import KafkaConnection
from tests.certificates import Authority
from tests.e2e.rig import GrpcClient, Site, deployment
from tests.models import model

X = {"x": [[1.0], [2.0], [5.0]]}
Y = [2.5, 3.0, 4.5]

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def site(bootstrap_servers: str, unique_name: str, tmp_path: Path) -> Site:
    """A deployment of this test's own on the shared broker."""
    return Site(KafkaConnection(bootstrap_servers), unique_name, tmp_path)


@pytest.fixture
def folder() -> Generator[Path, None, None]:
    """A folder whose path is short enough for a socket's."""
    with TemporaryDirectory(prefix="hr") as folder:
        yield Path(folder)


async def test_node_with_tls_and_a_socket_follows_its_certificate(site: Site, folder: Path) -> None:
    """Every way in answers, and a renewed certificate is shown without a restart."""
    authority = Authority.create(folder / "authority")
    successors = Authority.create(folder / "successors")
    identity = authority.issue("localhost")
    settings = {
        "unix_socket": folder / "grpc.sock",
        "tls_certificate": identity.certificate,
        "tls_key": identity.key,
    }
    async with deployment(site, **settings) as (node, publisher):
        await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")
        async with aio.insecure_channel(f"unix:{folder}/grpc.sock") as channel:
            assert await GrpcClient(channel).predict("m", X) == ({"y": Y}, 1)
        port, http_port = await node.port(), await node.port("http")

        async def ask(authority: Authority) -> None:
            credentials = grpc.ssl_channel_credentials(authority.pem)
            async with aio.secure_channel(f"localhost:{port}", credentials) as channel:
                assert await GrpcClient(channel).predict("m", X) == ({"y": Y}, 1)
            url, context = f"https://localhost:{http_port}/readyz", create_default_context()
            context.load_verify_locations(authority.certificate)
            with await asyncio.to_thread(urllib.request.urlopen, url, context=context) as response:
                assert response.status == 200

        await ask(authority)
        identity.renew(successors.issue("localhost"))
        await node.event("certificate.renewed")
        await ask(successors)
        with pytest.raises((aio.AioRpcError, urllib.error.URLError)):
            await ask(authority)
        assert await node.stop() == 0


async def test_certificate_that_cannot_be_used_ends_the_start(site: Site, folder: Path) -> None:
    """With one line that names the setting, and exit code 1."""
    authority = Authority.create(folder / "authority")
    one, other = authority.issue("localhost"), authority.issue("other")
    async with site.node(tls_certificate=one.certificate, tls_key=other.key) as node:
        assert await asyncio.wait_for(node.process.wait(), 60) == 1
    assert len(node.plain) == 1
    assert node.plain[0].startswith("headrace serve: --tls-key: ")


async def test_two_nodes_share_both_ports(site: Site) -> None:
    """Connections to one port are answered by both, each under its own name."""
    async with deployment(site, share_port=True, node_id="one") as (first, publisher):
        port, http_port = await first.port(), await first.port("http")
        ports = {"grpc_port": port, "http_port": http_port}
        async with site.node(**ports, share_port=True, node_id="two") as second:
            await second.ready()
            await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")
            await second.event("version.available")
            seen: set[str] = set()
            async with asyncio.timeout(60):
                while seen != {"one", "two"}:
                    seen.add(await answering_node(port))
            assert await second.stop() == 0
            assert await answering_node(port) == "one"


async def answering_node(port: int) -> str:
    """Return the name of the node that a fresh connection gets."""
    arguments = (("grpc.use_local_subchannel_pool", 1),)
    async with aio.insecure_channel(f"127.0.0.1:{port}", arguments) as channel:
        call: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/tensorflow.serving.PredictionService/GetModelMetadata"
        )
        asked = call(b"\x0a\x03\x0a\x01m\x12\x0dsignature_def", timeout=20)
        await asked
        provenance = str(dict(await asked.trailing_metadata())["headrace-provenance"])
        return dict(fact.split("=", 1) for fact in provenance.split())["node"]
