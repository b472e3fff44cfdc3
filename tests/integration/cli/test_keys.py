"""`headrace keys`, and the commands that sign, as a user runs them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from headrace.publisher.signing import SigningKey
from headrace.publisher.trusted_keys import TrustedKeys
from tests.fakes.saved_models import write_saved_model
from tests.integration.cli.programs import Ended, headrace


async def generate(folder: Path, name: str, *globs: str) -> tuple[Path, str]:
    """Make a key; return the file with its private part and the table for the nodes."""
    file = folder / f"{name}.pem"
    options = [option for glob in globs for option in ("--models", glob)]
    ended = await headrace("keys", "generate", "--out", str(file), "--name", name, *options)
    assert ended.code == 0, ended.err
    return file, ended.out


async def test_generated_key_is_trusted_by_its_table(tmp_path: Path) -> None:
    """What is printed is what nodes take; the private part is in the file, and only there."""
    file, table = await generate(tmp_path, "ci", "ranker*", "spam")
    trusted = tmp_path / "trusted.toml"
    trusted.write_text(table)
    (key,) = TrustedKeys.load(trusted)
    assert key.id == SigningKey.load(file).id
    assert (key.name, key.models) == ("ci", ("ranker*", "spam"))
    assert "PRIVATE" not in table
    assert file.stat().st_mode & 0o777 == 0o600


async def test_key_file_is_never_overwritten(tmp_path: Path) -> None:
    """One line says so, and the file stays."""
    file, _table = await generate(tmp_path, "ci")
    before = file.read_bytes()
    ended = await headrace("keys", "generate", "--out", str(file))
    assert (ended.code, ended.out) == (1, "")
    assert "exists, and a key is never overwritten" in ended.err
    assert file.read_bytes() == before


async def test_show_tells_what_is_public(tmp_path: Path) -> None:
    """Of private keys and of files of trusted keys; as a table to paste, and as JSON."""
    file, table = await generate(tmp_path, "ci", "ranker*")
    trusted = tmp_path / "trusted.toml"
    trusted.write_text(table)
    shown = await headrace("keys", "show", str(trusted))
    assert shown.out == table
    private = await headrace("keys", "show", str(file), "--name", "ci", "--models", "ranker*")
    assert private.out == table
    listed = await headrace("keys", "show", str(trusted), "--json")
    (entry,) = tomllib.loads(table)["key"]
    assert json.loads(listed.out) == [entry]
    bare = await headrace("keys", "show", str(file))
    assert "# models" in bare.out
    assert "PRIVATE" not in bare.out + private.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("keys", "show", "/nowhere/key.pem"), "cannot read /nowhere/key.pem"),
        (("keys", "resign"), "nothing to sign with: give --signing-key"),
        (("publish", "m", "/x", "--signing-key", "/nowhere"), "cannot read signing key /nowhere"),
        (("retire", "m", "1", "--trusted-keys", "/nowhere"), "cannot read trusted keys /nowhere"),
        (("history", "m", "--trusted-keys", "/nowhere"), "cannot read trusted keys /nowhere"),
    ],
)
async def test_files_that_cannot_be_used_are_told(arguments: tuple[str, ...], words: str) -> None:
    """In one line on standard error, before Kafka is asked."""
    ended = await headrace(*arguments, HEADRACE_BOOTSTRAP_SERVERS="localhost:9")
    assert (ended.code, ended.out) == (1, "")
    assert words in ended.err
    assert ended.err.count("\n") == 1


async def test_signed_events_from_publish_to_history(
    bootstrap_servers: str, unique_name: str, tmp_path: Path
) -> None:
    """Publish, config, retire and forget sign; history shows who, and what nodes refuse and why."""
    file, table = await generate(tmp_path, "ci", f"{unique_name}*")
    trusted = tmp_path / "trusted.toml"
    trusted.write_text(table)
    folder = write_saved_model(tmp_path / "model")
    common = {
        "HEADRACE_BOOTSTRAP_SERVERS": bootstrap_servers,
        "HEADRACE_STORE": str(tmp_path / "store"),
        "HEADRACE_CONTROL_TOPIC": f"{unique_name}.control",
        "HEADRACE_STATUS_TOPIC": f"{unique_name}.status",
        "HEADRACE_REQUEST_TOPIC": f"{unique_name}.requests",
        "HEADRACE_RESPONSE_TOPIC": f"{unique_name}.responses",
        "HEADRACE_DEAD_LETTER_TOPIC": f"{unique_name}.letters",
        "HEADRACE_SHADOW_TOPIC": f"{unique_name}.shadow",
    }
    keys = {"HEADRACE_SIGNING_KEY": str(file), "HEADRACE_TRUSTED_KEYS": str(trusted)}

    async def run(*arguments: str, **more: str) -> Ended:
        ended = await headrace(*arguments, **common, **more)
        assert ended.code == 0, ended.err
        return ended

    await run("publish", unique_name, str(folder), "--version", "1")
    refused = await run("history", unique_name, "--json", "--trusted-keys", str(trusted))
    assert [row["what"] for row in json.loads(refused.out)] == ["refused"]
    await run("keys", "resign", "--signing-key", str(file))
    await run("publish", unique_name, str(folder), **keys)
    await run("config", unique_name, "--label", "stable=1", **keys)
    await run("retire", unique_name, "2", "--signing-key", str(file))
    await run("forget", unique_name, "2", **keys)
    rows = json.loads((await run("history", unique_name, "--json", **keys)).out)
    signer = f"'ci' ({SigningKey.load(file).id})"
    assert [(row["what"], row["signed_by"]) for row in rows] == [
        ("refused", None),
        ("published", signer),
        ("published", signer),
        ("configured", signer),
        ("retired", signer),
        ("forgotten", signer),
    ]
    assert "is not signed" in rows[0]["details"]
    unverified = json.loads((await run("history", unique_name, "--json")).out)
    assert {row["signed_by"] for row in unverified} == {None}
    foreign = await headrace("config", "other", "--replicas", "2", **common, **keys)
    assert foreign.code == 1
    assert "and not for 'other'" in foreign.err
    shown = await run("config", unique_name, "--json", "--trusted-keys", str(trusted))
    assert json.loads(shown.out)["labels"] == {"stable": 1}
