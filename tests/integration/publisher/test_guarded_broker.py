"""Logins over TLS to a real broker, and what a user hears when one fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace.publisher import BrokerRefused, BrokerUnreachable, KafkaConnection
from headrace.publisher.connection import reachable
from tests.certificates import Authority
from tests.guarded import PASSWORD, Guarded, UnsignedTokens
from tests.integration.cli.programs import headrace

pytestmark = pytest.mark.usefixtures("abrupt_goodbyes")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts."""
    return Authority.create(tmp_path_factory.mktemp("elsewhere") / "stranger")


async def test_every_client_logs_in_by_every_mechanism(guarded: Guarded) -> None:
    """Consumer, producer and admin client."""
    for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
        connection = guarded.connection(guarded.login(mechanism))
        async with connection.consumer(), connection.producer(), connection.admin() as admin:
            assert (await admin.describe_cluster())["cluster_id"]


async def test_logs_in_with_tokens(guarded: Guarded) -> None:
    """From an object of the program, from a factory and from a function, named by reference."""
    own = UnsignedTokens()
    for provider in (own, "tests.guarded:UnsignedTokens", "tests.guarded:unsigned_token"):
        settings = guarded.settings(
            sasl_mechanism="OAUTHBEARER", sasl_oauth_token_provider=provider
        )
        async with guarded.connection(settings).admin() as admin:
            assert (await admin.describe_cluster())["cluster_id"]
    assert own.given


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sasl_password": "wrong"}, r"refused the login of 'alice' by SCRAM-SHA-512 \(Authentic"),
        ({"sasl_username": "nobody"}, "refused the login of 'nobody'"),
        ({"ssl_ca_file": None}, "the system's authorities cannot vouch for .*SSL_CA_FILE"),
    ],
)
async def test_a_refusal_is_told_at_once_and_in_words(
    changes: dict[str, Any], words: str, guarded: Guarded
) -> None:
    """Trying again until the time is up would not help."""
    with pytest.raises(BrokerRefused, match=words) as refusal:
        await reachable(guarded.connection(guarded.login(**changes), seconds=60))
    assert PASSWORD not in str(refusal.value)


async def test_a_broker_of_another_authority_or_name_is_not_trusted(
    guarded: Guarded, stranger: Authority
) -> None:
    """Both are how somebody between would look."""
    strange = guarded.login(ssl_ca_file=stranger.certificate)
    with pytest.raises(BrokerRefused, match=r"stranger/ca.pem cannot vouch for \(unable to get"):
        await reachable(guarded.connection(strange))
    by_address = KafkaConnection(
        guarded.bootstrap_servers.replace("localhost", "127.0.0.1"),
        security=guarded.connection(guarded.login()).security,
    )
    with pytest.raises(BrokerRefused, match=r"for another name than '127\.0\.0\.1'"):
        await reachable(by_address)


async def test_a_refused_token_is_told(guarded: Guarded) -> None:
    """The client library does not notice that a token has expired."""
    settings = guarded.settings(
        sasl_mechanism="OAUTHBEARER", sasl_oauth_token_provider=UnsignedTokens(-600)
    )
    with pytest.raises(BrokerRefused, match="did not accept the token"):
        await reachable(guarded.connection(settings))


async def test_a_failing_token_provider_is_waited_for(guarded: Guarded) -> None:
    """Its authorization server may come back; until then its words are the reason."""
    settings = guarded.settings(
        sasl_mechanism="OAUTHBEARER", sasl_oauth_token_provider="tests.guarded:no_token"
    )
    with pytest.raises(BrokerUnreachable, match="the authorization server is away"):
        await reachable(guarded.connection(settings, seconds=1.2))


@pytest.mark.parametrize("settings", [{}, {"security_protocol": "SSL"}])
async def test_a_protocol_that_the_broker_does_not_speak_is_guessed(
    settings: dict[str, Any], guarded: Guarded
) -> None:
    """All that is seen of it is a connection that ends."""
    tls = guarded.settings() if settings else {}
    protocol = settings.get("security_protocol", "PLAINTEXT")
    with pytest.raises(BrokerUnreachable, match=f"hung up .*does it expect {protocol}.*Otherwise"):
        await reachable(guarded.connection(tls | settings, seconds=1.2))


async def test_a_login_where_none_is_asked_for_is_told(bootstrap_servers: str) -> None:
    """A plain broker says so."""
    plain = {"sasl_mechanism": "PLAIN", "sasl_username": "u", "sasl_password": "p"}
    connection = KafkaConnection.from_environment(
        bootstrap_servers,
        environment={
            "HEADRACE_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            **{f"HEADRACE_KAFKA_{name.upper()}": text for name, text in plain.items()},
        },
    )
    with pytest.raises(BrokerRefused, match="takes no login there"):
        await reachable(connection)


async def test_a_changed_password_file_counts_from_the_next_client_on(
    guarded: Guarded, tmp_path: Path
) -> None:
    """The connection stays the same object."""
    file = tmp_path / "password"
    file.write_text("of yesterday\n")
    settings = guarded.login(sasl_password="", sasl_password_file=file)
    connection = guarded.connection(settings)
    with pytest.raises(BrokerRefused):
        await reachable(connection)
    file.write_text(f"{PASSWORD}\n")
    await reachable(connection)


async def test_commands_log_in_by_their_variables(guarded: Guarded) -> None:
    """The same that the nodes read; a wrong password is one line and exit code 1."""
    made = await headrace("topics", "create", **guarded.variables(guarded.login()))
    assert (made.code, made.err) == (0, "")
    wrong = guarded.variables(guarded.login(sasl_password="wrong"))
    refused = await headrace("models", **wrong)
    assert (refused.code, refused.out) == (1, "")
    assert len(refused.err.splitlines()) == 1
    assert "refused the login of 'alice'" in refused.err
    assert "HEADRACE_KAFKA_SASL_PASSWORD" in refused.err
