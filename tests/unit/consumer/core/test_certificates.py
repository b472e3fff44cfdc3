"""Certificates from files: what is refused at the start, and what a change does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from headrace.consumer.core.certificates import Certificates, TlsFiles
from headrace.consumer.core.errors import NodeError
from tests.certificates import Authority, Identity, replace_file


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority of this test's own."""
    return Authority.create(tmp_path / "authority")


def files_of(identity: Identity, client_ca: Path | None = None) -> TlsFiles:
    """Return the files of an identity."""
    return TlsFiles(certificate=identity.certificate, key=identity.key, client_ca=client_ca)


@asynccontextmanager
async def followed(files: TlsFiles) -> AsyncGenerator[Certificates, None]:
    """Load certificates, and follow their files."""
    certificates = Certificates(files, check_seconds=0.01)
    certificates.load()
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(certificates.watch())
        yield certificates
        watching.cancel()


async def logged(logs: list[EventDict], event: str) -> EventDict:
    """Wait until an event is logged, and return it."""
    async with asyncio.timeout(30):
        while True:
            for entry in logs:
                if entry["event"] == event:
                    return entry
            await asyncio.sleep(0.01)


def test_missing_file_is_named(authority: Authority, tmp_path: Path) -> None:
    """The reason has the path, and what the system says."""
    files = TlsFiles(certificate=tmp_path / "none.pem", key=authority.issue("localhost").key)
    with pytest.raises(NodeError, match=rf"{tmp_path}/none\.pem: No such file"):
        Certificates(files).load()


def test_key_of_another_certificate_is_refused(authority: Authority) -> None:
    """Both files and both settings are named."""
    one, other = authority.issue("localhost"), authority.issue("elsewhere")
    files = TlsFiles(certificate=one.certificate, key=other.key)
    with pytest.raises(NodeError, match=r"--tls-key: .*elsewhere\.key is not the key of --tls-cer"):
        Certificates(files).load()


def test_encrypted_key_is_refused_and_nobody_is_asked(authority: Authority) -> None:
    """A node has no terminal to ask for a password on."""
    identity = authority.issue("localhost")
    files = TlsFiles(certificate=identity.certificate, key=identity.locked("secret"))
    with pytest.raises(NodeError, match="an unencrypted key"):
        Certificates(files).load()


def test_file_without_a_certificate_is_refused(authority: Authority, tmp_path: Path) -> None:
    """For the authority of the callers as for our own certificate."""
    identity = authority.issue("localhost")
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    with pytest.raises(NodeError, match=r"--tls-client-ca: .*empty\.pem holds no certificate"):
        Certificates(files_of(identity, client_ca=empty)).load()
    with pytest.raises(NodeError, match=r"--tls-certificate: .*empty\.pem"):
        Certificates(TlsFiles(certificate=empty, key=identity.key)).load()


def test_one_file_may_have_both(authority: Authority) -> None:
    """A certificate and its key are often kept together."""
    bundle = authority.issue("localhost").bundle
    certificates = Certificates(TlsFiles(certificate=bundle, key=bundle))
    certificates.load()
    assert certificates.identity.key == bundle.read_bytes()


async def test_changed_files_are_in_force_without_a_restart(authority: Authority) -> None:
    """What is asked for after the change is told is the new one."""
    identity, renewal = authority.issue("localhost"), authority.issue("renewed")
    with capture_logs() as logs:
        async with followed(files_of(identity)) as certificates:
            before = certificates.identity
            identity.renew(renewal)
            entry = await logged(logs, "certificate.renewed")
            assert certificates.identity is not before
            assert certificates.identity.certificate == renewal.certificate.read_bytes()
    assert entry["certificate"] == str(identity.certificate)


@pytest.mark.parametrize("damage", ["broken", "mismatched", "gone"])
async def test_change_for_the_worse_keeps_the_old_identity(
    authority: Authority, damage: str
) -> None:
    """It is told once, and mended files are taken again."""
    identity, other = authority.issue("localhost"), authority.issue("other")
    good = identity.certificate.read_bytes()
    with capture_logs() as logs:
        async with followed(files_of(identity)) as certificates:
            before = certificates.identity
            if damage == "gone":
                identity.certificate.unlink()
            elif damage == "broken":
                identity.certificate.write_text("-----BEGIN CERTIFICATE-----\nhalf")
            else:
                replace_file(identity.certificate, other.certificate)
            entry = await logged(logs, "certificate.refused")
            assert str(identity.certificate) in str(entry["reason"])
            assert certificates.identity is before
            identity.certificate.write_bytes(good)
            await logged(logs, "certificate.renewed")
            assert certificates.identity.certificate == good
    assert [entry["event"] for entry in logs] == ["certificate.refused", "certificate.renewed"]
