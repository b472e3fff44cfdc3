"""Settings: flags over environment over file, and faults in words."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from headrace.consumer.__main__ import main
from headrace.consumer.core.errors import NodeError
from headrace.consumer.settings import Settings
from headrace.publisher import KafkaConnection, KafkaSecurity

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"HEADRACE_{name.upper()}", raising=False)


def test_flag_beats_environment_beats_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each source is overruled by the one before it."""
    file = tmp_path / "headrace.toml"
    file.write_text('grpc_port = 1\nhttp_port = 1\ngroup = "file"\n')
    monkeypatch.setenv("HEADRACE_GRPC_PORT", "2")
    monkeypatch.setenv("HEADRACE_HTTP_PORT", "2")
    settings = Settings.from_arguments(["--config", str(file), "--grpc-port", "3"])
    assert (settings.grpc_port, settings.http_port, settings.group) == (3, 2, "file")


def test_file_named_by_the_environment_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HEADRACE_CONFIG does what --config does."""
    (tmp_path / "h.toml").write_text('node_id = "n7"')
    monkeypatch.setenv("HEADRACE_CONFIG", str(tmp_path / "h.toml"))
    assert Settings.from_arguments([]).node == "n7"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--grpc-port", "70000"], "grpc_port"),
        (["--drain-seconds", "-1"], "drain_seconds"),
        (["--load-slots", "many"], "load_slots"),
        (["--config", "/nowhere/headrace.toml"], "/nowhere/headrace.toml"),
    ],
)
def test_faulty_setting_is_named(arguments: list[str], words: str) -> None:
    """The message names the setting at fault."""
    with pytest.raises(NodeError, match=words):
        Settings.from_arguments(arguments)


@pytest.mark.parametrize("text", ["unknown_key = 1", "grpc_port = ", "grpc_port = 'x'"])
def test_faulty_file_is_refused_in_words(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unknown keys, broken TOML and wrong types end with code 2 and one line."""
    file = tmp_path / "h.toml"
    file.write_text(text)
    assert main(["--config", str(file)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("headrace serve: settings that cannot be")
    assert len(message.splitlines()) == 1


def test_printed_settings_can_be_read_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--print-config prints TOML that means the same settings."""
    assert main(["--print-config", "--node-id", 'quo"te', "--grpc-port", "77"]) == 0
    text = capsys.readouterr().out
    assert tomllib.loads(text)["grpc_port"] == 77
    (tmp_path / "h.toml").write_text(text)
    again = Settings.from_arguments(["--config", str(tmp_path / "h.toml")])
    assert again.node == 'quo"te'


def test_no_password_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither with the settings in force nor in a message about a faulty one."""
    assert main(["--print-config", "--kafka-sasl-password", "hush"]) == 0
    printed = capsys.readouterr().out
    assert "hush" not in printed
    assert "# kafka_sasl_password is set, and not shown" in printed
    assert "# kafka_ssl_key_password is not set" in printed
    (tmp_path / "h.toml").write_text('kafka_sasl_password = ["hush"]\nkafka_pasword = "hush"')
    assert main(["--config", str(tmp_path / "h.toml")]) == 2
    message = capsys.readouterr().err
    assert "hush" not in message
    assert "kafka_sasl_password" in message
    assert "kafka_pasword" in message


def test_security_settings_reach_the_connection() -> None:
    """Each has the flag that its name in the publisher's settings promises."""
    given = {
        "security_protocol": "SASL_SSL",
        "ssl_ca_file": "/ca.pem",
        "ssl_certificate_file": "/c.pem",
        "ssl_key_file": "/k.pem",
        "ssl_key_password": "kp",
        "sasl_mechanism": "PLAIN",
        "sasl_username": "u",
        "sasl_password": "p",
    }
    flags = [f"--kafka-{name.replace('_', '-')}={text}" for name, text in given.items()]
    connection = Settings.from_arguments(["--bootstrap-servers=k:1", *flags]).kafka_connection
    assert connection == KafkaConnection("k:1", security=KafkaSecurity.from_texts(given))
    fields = {name.removeprefix("kafka_") for name in Settings.model_fields if "kafka_" in name}
    assert fields == set(KafkaSecurity.names())


def test_every_setting_is_documented() -> None:
    """docs/configuration.md has a row for each setting, with the flag and what it does."""
    page = (ROOT / "docs/configuration.md").read_text()
    for name, field in Settings.model_fields.items():
        assert f"`--{name.replace('_', '-')}`" in page
        assert field.description
        assert field.description in page


def test_nodes_that_share_a_port_need_names() -> None:
    """Else two nodes would report as one."""
    with pytest.raises(NodeError, match="--share-port needs --node-id"):
        _ = Settings.from_arguments(["--share-port"]).node
    assert Settings.from_arguments(["--share-port", "--node-id", "n7"]).node == "n7"


@pytest.mark.parametrize("flag", ["--tls-key", "--tls-client-ca"])
def test_tls_without_a_certificate_is_refused(flag: str) -> None:
    """A node that should have TLS does not start without it."""
    with pytest.raises(NodeError, match=f"{flag} needs --tls-certificate"):
        _ = Settings.from_arguments([flag, "/some.pem"]).tls_files


def test_key_may_be_in_the_file_of_the_certificate() -> None:
    """One setting is enough for TLS."""
    files = Settings.from_arguments(["--tls-certificate", "/both.pem"]).tls_files
    assert files
    assert (files.certificate, files.key, files.client_ca) == (
        Path("/both.pem"),
        Path("/both.pem"),
        None,
    )
