"""The HTTP door with TLS, asked by aiohttp's client."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from headrace.consumer.core.certificates import Certificates, TlsFiles
from headrace.consumer.core.monitor import Monitor
from headrace.consumer.core.readiness import Phase, Readiness
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.web import HttpDoor, HttpOptions
from tests.certificates import Authority, Identity, replace_file


@pytest.fixture
def nodes(tmp_path: Path) -> Authority:
    """Who vouches for nodes."""
    return Authority.create(tmp_path / "nodes")


@pytest.fixture
def callers(tmp_path: Path) -> Authority:
    """Who vouches for callers."""
    return Authority.create(tmp_path / "callers")


@asynccontextmanager
async def listening(identity: Identity, client_ca: Path | None = None) -> AsyncGenerator[str, None]:
    """Open a door that follows its files, and return its address."""
    files = TlsFiles(certificate=identity.certificate, key=identity.key, client_ca=client_ca)
    certificates = Certificates(files, check_seconds=0.01)
    certificates.load()
    readiness = Readiness()
    readiness.enter(Phase.READY)
    options = HttpOptions(host="127.0.0.1", port=0, certificates=certificates)
    async with (
        asyncio.TaskGroup() as tasks,
        HttpDoor(ServingMap(), Monitor(), readiness, options) as door,
    ):
        watching = tasks.create_task(certificates.watch())
        yield f"https://127.0.0.1:{door.port}"
        watching.cancel()


def trust(authority: Authority, identity: Identity | None = None) -> ssl.SSLContext:
    """Return a client's context; it names no host, as one that calls an address does not."""
    context = ssl.create_default_context(cafile=authority.certificate)
    context.check_hostname = False
    if identity:
        context.load_cert_chain(identity.certificate, identity.key)
    return context


async def status(url: str, context: ssl.SSLContext) -> int:
    """Return the status that a fresh connection gets."""
    async with aiohttp.ClientSession() as client, client.get(url, ssl=context) as response:
        await response.read()
        return response.status


async def test_client_that_trusts_the_authority_is_answered(
    nodes: Authority, callers: Authority
) -> None:
    """And one with another trust, or without TLS, is not."""
    async with listening(nodes.issue("localhost")) as url:
        assert await status(f"{url}/readyz", trust(nodes)) == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await status(f"{url}/readyz", trust(callers))
        with pytest.raises(aiohttp.ClientError):
            await status(url.replace("https", "http"), trust(nodes))


async def test_mutual_tls_keeps_only_health_open(nodes: Authority, callers: Authority) -> None:
    """An orchestrator needs no certificate to ask whether the node lives; all others do."""
    async with listening(nodes.issue("localhost"), callers.certificate) as url:
        assert await status(f"{url}/healthz", trust(nodes)) == 200
        assert await status(f"{url}/readyz", trust(nodes)) == 200
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"{url}/v1/models/m", ssl=trust(nodes)) as response,
        ):
            assert response.status == 403
            assert await response.json() == {"error": "a client certificate is required here"}
        vouched = trust(nodes, callers.issue("caller"))
        assert await status(f"{url}/v1/models/m", vouched) == 404


async def test_certificate_of_a_stranger_fails_the_handshake(
    nodes: Authority, callers: Authority, tmp_path: Path
) -> None:
    """Also where none would be needed."""
    stranger = Authority.create(tmp_path / "strangers").issue("caller")
    async with listening(nodes.issue("localhost"), callers.certificate) as url:
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await status(f"{url}/healthz", trust(nodes, stranger))


async def test_renewed_certificate_is_shown_to_new_connections(
    nodes: Authority, tmp_path: Path
) -> None:
    """Whoever is connected stays so; whoever comes sees the new certificate only."""
    successors = Authority.create(tmp_path / "successors")
    identity, renewal = nodes.issue("localhost"), successors.issue("localhost")
    async with listening(identity) as url, aiohttp.ClientSession() as early:
        async with early.get(f"{url}/healthz", ssl=trust(nodes)) as response:
            assert response.status == 200
        identity.renew(renewal)
        await answered(f"{url}/healthz", trust(successors))
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await status(f"{url}/healthz", trust(nodes))


async def test_renewed_authority_holds_for_new_callers(
    nodes: Authority, callers: Authority, tmp_path: Path
) -> None:
    """An authority that is not trusted any more vouches for nobody."""
    successors = Authority.create(tmp_path / "successors")
    old, new = callers.issue("caller"), successors.issue("caller")
    async with listening(nodes.issue("localhost"), callers.certificate) as url:
        assert await status(f"{url}/v1/models/m", trust(nodes, old)) == 404
        replace_file(callers.certificate, successors.certificate)
        await answered(f"{url}/healthz", trust(nodes, new))
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await status(f"{url}/v1/models/m", trust(nodes, old))


async def answered(url: str, context: ssl.SSLContext) -> None:
    """Wait until a fresh connection is answered."""
    async with asyncio.timeout(30):
        while True:
            try:
                assert await status(url, context) == 200
            except (aiohttp.ClientError, ConnectionError):
                await asyncio.sleep(0.01)
            else:
                return
