"""Certificates for tests, made by the `openssl` command: an authority and what it signs."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_DAYS = "2"


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, both PEM."""

    certificate: Path
    key: Path

    @property
    def bundle(self) -> Path:
        """Key and certificate in one file, as a broker wants them."""
        path = self.key.with_suffix(".bundle.pem")
        path.write_bytes(self.key.read_bytes() + self.certificate.read_bytes())
        return path

    def renew(self, successor: Identity) -> None:
        """Put another identity's files in the places of ours, as renewals do: by renaming."""
        replace_file(self.key, successor.key)
        replace_file(self.certificate, successor.certificate)

    def locked(self, password: str) -> Path:
        """Return a copy of the key that a password protects."""
        path = self.key.with_suffix(".locked.pem")
        _openssl("pkey", "-in", self.key, "-aes256", "-passout", f"pass:{password}", "-out", path)
        return path


@dataclass(frozen=True)
class Authority:
    """A certificate authority in a folder of its own."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> Authority:
        """Make an authority with a fresh key."""
        folder.mkdir()
        authority = cls(folder)
        _openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", f"/CN={folder.name}", "-days", _DAYS, "-keyout", folder / "ca.key"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", authority.certificate),
        )
        return authority

    @property
    def certificate(self) -> Path:
        """The authority's own certificate."""
        return self.folder / "ca.pem"

    @property
    def pem(self) -> bytes:
        """What its file holds."""
        return self.certificate.read_bytes()

    def issue(self, name: str) -> Identity:
        """Sign a certificate for a host or a client."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        _openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", f"/CN={name}", "-keyout", key, "-out", request),
        )
        extensions.write_text(
            f"subjectAltName=DNS:{name}\nauthorityKeyIdentifier=keyid\nkeyUsage=digitalSignature\n"
        )
        _openssl(
            *("x509", "-req", "-in", request, "-CA", self.certificate, "-days", _DAYS),
            *("-CAkey", self.folder / "ca.key", "-extfile", extensions, "-out", certificate),
        )
        return Identity(certificate, key)


def replace_file(place: Path, file: Path) -> None:
    """Put a copy of one file in the place of another, at once."""
    copy = place.with_suffix(".new")
    shutil.copy(file, copy)
    copy.replace(place)


def _openssl(*arguments: str | Path) -> None:
    run = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=30, check=False
    )
    assert run.returncode == 0, run.stderr
