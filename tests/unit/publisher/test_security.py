"""Which security settings fit together, what follows from them, and what never shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace.publisher import InvalidArgument, KafkaConnection, KafkaSecurity
from tests.certificates import Authority

CA = Path("ca.pem")
LOGIN: dict[str, Any] = {
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_username": "u",
    "sasl_password": "hush",
}
PLAIN = LOGIN | {"sasl_mechanism": "PLAIN"}
TOKENS = "tests.guarded:UnsignedTokens"
OAUTH: dict[str, Any] = {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": TOKENS}


def made(**settings: object) -> KafkaSecurity:
    """Return settings out of parts."""
    values: dict[str, Any] = settings
    return KafkaSecurity(**values)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("unit") / "authority")


@pytest.mark.parametrize(
    ("settings", "protocol"),
    [
        ({}, "PLAINTEXT"),
        ({"ssl_ca_file": CA}, "SSL"),
        ({"ssl_certificate_file": CA}, "SSL"),
        ({"security_protocol": "SSL"}, "SSL"),
        (LOGIN, "SASL_SSL"),
        (LOGIN | {"ssl_ca_file": CA}, "SASL_SSL"),
        (LOGIN | {"security_protocol": "SASL_PLAINTEXT"}, "SASL_PLAINTEXT"),
        (OAUTH, "SASL_SSL"),
    ],
)
def test_protocol_follows_from_the_other_settings(settings: dict[str, Any], protocol: str) -> None:
    """A login goes over TLS unless the contrary is said."""
    assert made(**settings).protocol == protocol


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"security_protocol": "TLS"}, "'TLS' is not known; give one of PLAINTEXT, SSL"),
        ({"sasl_mechanism": "GSSAPI"}, "'GSSAPI' is not known; give one of PLAIN"),
        ({"security_protocol": "PLAINTEXT", "ssl_ca_file": CA}, "ssl_ca_file and PLAINTEXT"),
        (LOGIN | {"security_protocol": "SASL_PLAINTEXT", "ssl_ca_file": CA}, "uses no TLS"),
        (LOGIN | {"security_protocol": "SSL"}, "sasl_mechanism.* and SSL, which has no login"),
        ({"security_protocol": "SASL_SSL"}, "SASL_SSL needs a sasl_mechanism"),
        ({"sasl_username": "u", "sasl_password": "hush"}, "sasl_username.* without sasl_mechanism"),
        (LOGIN | {"sasl_username": ""}, "needs sasl_username, which is missing"),
        (LOGIN | {"sasl_password": ""}, "needs sasl_password or sasl_password_file"),
        (LOGIN | {"sasl_password_file": CA}, "are both given"),
        (LOGIN | {"sasl_oauth_token_provider": TOKENS}, "is for OAUTHBEARER"),
        ({"sasl_mechanism": "OAUTHBEARER"}, "needs sasl_oauth_token_provider"),
        (OAUTH | {"sasl_username": "u"}, "and no sasl_username"),
        (OAUTH | {"sasl_oauth_token_provider": "tests.guarded"}, "is not module:name"),
        ({"ssl_key_file": CA}, "without the ssl_certificate_file"),
        ({"ssl_ca_file": CA, "ssl_key_password": "hush"}, "ssl_key_password is given without"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], words: str) -> None:
    """The message names them, and never a password."""
    with pytest.raises(InvalidArgument, match=words) as refusal:
        made(**settings)
    assert "hush" not in str(refusal.value)


@pytest.mark.parametrize("settings", [PLAIN, OAUTH])
def test_a_secret_leaves_the_machine_only_by_tls(settings: dict[str, Any]) -> None:
    """PLAIN and OAUTHBEARER send it as it is: without TLS to this machine alone."""
    bare = made(**settings, security_protocol="SASL_PLAINTEXT")
    KafkaConnection("localhost:9092,127.0.0.2:1,[::1]:2", security=bare)
    with pytest.raises(InvalidArgument, match=r"to kafka\.example in the clear; use"):
        KafkaConnection("localhost:9092,kafka.example:9092", security=bare)
    KafkaConnection("kafka.example:9092", security=made(**settings))


def test_a_password_is_not_shown() -> None:
    """Neither by the settings nor by a connection that has them."""
    security = made(**LOGIN, ssl_certificate_file=CA, ssl_key_password="hush")
    assert "hush" not in repr(security)
    assert "hush" not in repr(KafkaConnection("k:1", security=security))


def test_variables_say_everything() -> None:
    """Each setting has its variable; an empty one counts as unset, `~` as the home folder."""
    connection = KafkaConnection.from_environment(
        environment={
            "HEADRACE_BOOTSTRAP_SERVERS": "k:1",
            "HEADRACE_KAFKA_SECURITY_PROTOCOL": "",
            "HEADRACE_KAFKA_SSL_CA_FILE": "~/ca.pem",
            "HEADRACE_KAFKA_SASL_MECHANISM": "PLAIN",
            "HEADRACE_KAFKA_SASL_USERNAME": "u",
            "HEADRACE_KAFKA_SASL_PASSWORD": "hush",
        }
    )
    assert connection.bootstrap_servers == "k:1"
    assert connection.security == made(**PLAIN, ssl_ca_file=Path.home() / "ca.pem")
    assert KafkaConnection.from_environment("j:2", environment={}) == KafkaConnection("j:2")


def test_a_password_file_is_read_for_each_client(tmp_path: Path) -> None:
    """So that a password may be changed under a running program; a last line end is no part."""
    file = tmp_path / "password"
    security = made(**LOGIN | {"sasl_password": ""}, sasl_password_file=file)
    for written in ("one\n", " two \r\n"):
        file.write_text(written)
        assert security.client_arguments()["sasl_plain_password"] == written.rstrip("\r\n")


@pytest.mark.parametrize("written", [None, b"\n", b"\xff"])
def test_an_unusable_password_file_is_named(tmp_path: Path, written: bytes | None) -> None:
    """One that is missing, is empty, or is no text."""
    file = tmp_path / "password"
    if written is not None:
        file.write_bytes(written)
    security = made(**LOGIN | {"sasl_password": ""}, sasl_password_file=file)
    with pytest.raises(InvalidArgument, match=f"sasl_password_file {file} (cannot|is empty)"):
        security.client_arguments()


def test_tls_files_are_read_again_once_they_changed(authority: Authority, tmp_path: Path) -> None:
    """Clients share a context until then: a node opens many, and reading takes time."""
    file = tmp_path / "ca.pem"
    file.write_bytes(authority.certificate.read_bytes())
    security = KafkaSecurity(ssl_ca_file=file)
    before = security.client_arguments()["ssl_context"]
    assert security.client_arguments()["ssl_context"] is before
    assert before.check_hostname
    file.write_bytes(authority.certificate.read_bytes() + b"\n")
    assert security.client_arguments()["ssl_context"] is not before


def test_unusable_tls_files_are_named(authority: Authority, tmp_path: Path) -> None:
    """Missing ones, ones without a certificate, keys of another certificate, locked keys."""
    one, other = authority.issue("one"), authority.issue("other")
    (tmp_path / "empty.pem").touch()

    def refused(words: str, **settings: object) -> None:
        with pytest.raises(InvalidArgument, match=words) as refusal:
            made(**settings).client_arguments()
        assert "hush" not in str(refusal.value)

    refused("ssl_ca_file .*ca.pem cannot be read: .*No such", ssl_ca_file=tmp_path / "ca.pem")
    refused("ssl_ca_file .*empty.pem holds no", ssl_ca_file=tmp_path / "empty.pem")
    certificate: dict[str, Any] = {"ssl_certificate_file": one.certificate}
    refused("ssl_key_file .* cannot be read", **certificate, ssl_key_file=tmp_path / "key.pem")
    refused("one.pem and its key .*MISMATCH", **certificate, ssl_key_file=other.key)
    locked = certificate | {"ssl_key_file": one.locked("open sesame")}
    refused("ssl_key_password not set", **locked)
    refused("ssl_key_password set", **locked, ssl_key_password="hush")
    made(**locked, ssl_key_password="open sesame").client_arguments()


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("tests.nowhere:x", "ModuleNotFoundError"),
        ("tests.guarded:nothing", "AttributeError"),
        ("pathlib:Path", "made a PosixPath, which has no `async def token"),
        ("json:loads", "TypeError"),
    ],
)
def test_a_token_provider_that_cannot_be_made_is_named(reference: str, words: str) -> None:
    """Before anything connects."""
    security = made(**OAUTH | {"sasl_oauth_token_provider": reference})
    with pytest.raises(InvalidArgument, match=words):
        security.client_arguments()
