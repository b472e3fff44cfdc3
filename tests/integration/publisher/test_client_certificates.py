"""A broker that asks its clients for certificates."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace.publisher import BrokerRefused
from headrace.publisher.connection import reachable
from tests.certificates import Authority, Identity
from tests.guarded import Guarded, certificate_broker
from tests.integration.cli.programs import headrace

pytestmark = pytest.mark.usefixtures("abrupt_goodbyes")


@pytest.fixture(scope="module")
def demanding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with certificate_broker(tmp_path_factory.mktemp("demanding")) as broker:
        yield broker


@pytest.fixture(scope="module")
def alice(demanding: Guarded) -> Identity:
    return demanding.authority.issue("alice")


async def test_a_client_certificate_opens_the_door(demanding: Guarded, alice: Identity) -> None:
    """With its key in a file of its own, locked, or in the same file."""
    locked = {"ssl_key_file": alice.locked("open sesame"), "ssl_key_password": "open sesame"}
    for key in (
        {"ssl_certificate_file": alice.certificate, "ssl_key_file": alice.key},
        {"ssl_certificate_file": alice.certificate, **locked},
        {"ssl_certificate_file": alice.bundle},
    ):
        connection = demanding.connection(demanding.settings(**key))
        async with connection.consumer(), connection.producer():
            await reachable(connection)


async def test_the_want_of_a_certificate_is_told(demanding: Guarded) -> None:
    """One line and exit code 1 from a command."""
    refused = await headrace("topics", "list", **demanding.variables(demanding.settings()))
    assert (refused.code, refused.out) == (1, "")
    assert len(refused.err.splitlines()) == 1
    assert "asks for a client certificate" in refused.err
    assert "HEADRACE_KAFKA_SSL_CERTIFICATE_FILE" in refused.err


async def test_a_certificate_of_a_stranger_is_told(
    demanding: Guarded, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The message names the file."""
    eve = Authority.create(tmp_path_factory.mktemp("elsewhere") / "stranger").issue("eve")
    settings = demanding.settings(ssl_certificate_file=eve.certificate, ssl_key_file=eve.key)
    with pytest.raises(BrokerRefused, match=r"does not accept the client certificate .*eve\.pem"):
        await reachable(demanding.connection(settings))
