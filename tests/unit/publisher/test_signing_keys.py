"""Key files: what is taken, what is refused, and in what words."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from headrace.publisher.errors import InvalidKey, NotTrusted
from headrace.publisher.event_security import EventSecurity
from headrace.publisher.key_files import write_private_key
from headrace.publisher.signing import SigningKey, key_id_of
from headrace.publisher.trusted_keys import TrustedKey, TrustedKeys, read_keys
from headrace.schemas.records import Lifecycle, ModelVersion, Validation
from tests.fakes.signed_records import trusting

PKCS8 = (Encoding.PEM, PrivateFormat.PKCS8)
PUBLIC = base64.b64encode(bytes(32)).decode()


def private_file(folder: Path, pem: bytes, mode: int = 0o600) -> Path:
    """Write a private key with these permissions."""
    file = folder / "key.pem"
    file.write_bytes(pem)
    file.chmod(mode)
    return file


def test_key_survives_its_file(tmp_path: Path) -> None:
    """What is generated is what is loaded, and only its owner may read it."""
    key, file = SigningKey.generate(), tmp_path / "key.pem"
    write_private_key(file, key.to_pem())
    assert SigningKey.load(file).id == key.id == key_id_of(key.public)
    assert file.stat().st_mode & 0o777 == 0o600


def test_key_file_is_never_overwritten(tmp_path: Path) -> None:
    """A key that is gone is gone."""
    file = private_file(tmp_path, b"precious")
    with pytest.raises(InvalidKey, match="exists, and a key is never overwritten"):
        write_private_key(file, b"other")
    assert file.read_bytes() == b"precious"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The message says the mode and what to do."""
    file = private_file(tmp_path, SigningKey.generate().to_pem(), mode)
    with pytest.raises(InvalidKey, match=rf"read by others \(mode {mode:o}\): chmod 600 it"):
        SigningKey.load(file)


def rsa_key() -> bytes:
    """Return an RSA key."""
    return rsa.generate_private_key(65537, 2048).private_bytes(*PKCS8, NoEncryption())


def elliptic_key() -> bytes:
    """Return an ECDSA key."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(*PKCS8, NoEncryption())


def encrypted_key() -> bytes:
    """Return a key behind a password."""
    encryption = BestAvailableEncryption(b"secret")
    return Ed25519PrivateKey.generate().private_bytes(*PKCS8, encryption)


def public_key() -> bytes:
    """Return a public key in PEM form."""
    key = Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("pem", "words"),
    [
        (rsa_key(), "is of kind RSA, and events are signed with Ed25519"),
        (elliptic_key(), "is of kind .*, and events are signed with Ed25519"),
        (encrypted_key(), "is encrypted, and nobody is there to ask"),
        (public_key(), "holds a public key, which cannot sign"),
        (b"", "is no private key in PEM form"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "is no private key"),
        (SigningKey.generate().to_pem()[:-40], "is no private key"),
    ],
    ids=["rsa", "elliptic", "encrypted", "public", "empty", "garbage", "truncated"],
)
def test_key_of_the_wrong_kind_is_refused(tmp_path: Path, pem: bytes, words: str) -> None:
    """Each in words that say what it is."""
    with pytest.raises(InvalidKey, match=words):
        SigningKey.load(private_file(tmp_path, pem))


def test_key_that_is_no_file_is_refused(tmp_path: Path) -> None:
    """Nothing, a folder, or a pipe, which is not waited for."""
    with pytest.raises(InvalidKey, match=r"cannot read signing key .*: No such file"):
        SigningKey.load(tmp_path / "nothing")
    with pytest.raises(InvalidKey, match=r"cannot read signing key .*: Is a directory"):
        SigningKey.load(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(InvalidKey, match="is not a file"):
        SigningKey.load(tmp_path / "pipe")


def test_table_of_a_key_is_read_back(tmp_path: Path) -> None:
    """Names with quotes and letters of any kind, too."""
    key = TrustedKey(SigningKey.generate().public, ("ranker*", "spam"), 'é "ci" \\')
    file = tmp_path / "trusted.toml"
    file.write_text(key.to_toml() + "\n")
    assert list(TrustedKeys.load(file)) == [key]
    assert read_keys(file) == [key]


def test_globs_say_for_which_models_a_key_may_sign() -> None:
    """Whole names, and case counts."""
    key = TrustedKey(bytes(32), ("rank*", "spam"))
    allowed = [
        name for name in ("rank", "ranker", "Ranker", "spam", "spams") if key.may_sign_for(name)
    ]
    assert allowed == ["rank", "ranker", "spam"]


KEY_ID = key_id_of(bytes(32))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"must hold \[\[key\]\] tables, at least one"),
        ("key = 3", r"must hold \[\[key\]\] tables"),
        ("[key]", r"must hold \[\[key\]\] tables"),
        ("[[keys]]", r"must hold \[\[key\]\] tables"),
        ("[[key]", "are not TOML"),
        ("\udc80", "are not TOML"),
        (f'[[key]]\nmodels=["*"]\npublic="{PUBLIC}"\nmodel="x"', "key 1: unknown: model; known"),
        ('[[key]]\nmodels=["*"]', "key 1: public has 0 bytes, and an Ed25519 key 32"),
        ('[[key]]\nmodels=["*"]\npublic="AAAA"', "key 1: public has 3 bytes"),
        ('[[key]]\nmodels=["*"]\npublic="?"', "key 1: public is not base64"),
        ('[[key]]\nmodels=["*"]\npublic="é"', "key 1: public is not base64"),
        ('[[key]]\nmodels=["*"]\npublic=1', "key 1: public is not a text"),
        (f'[[key]]\npublic="{PUBLIC}"', "key 1: models must be a list of globs"),
        (f'[[key]]\nmodels=[]\npublic="{PUBLIC}"', "key 1: models must be a list of globs"),
        (f'[[key]]\nmodels="*"\npublic="{PUBLIC}"', "key 1: models must be a list of globs"),
        (f'[[key]]\nmodels=[""]\npublic="{PUBLIC}"', "key 1: models holds what is no glob"),
        (f'[[key]]\nmodels=[1]\npublic="{PUBLIC}"', "key 1: models holds what is no glob"),
        (
            f'[[key]]\nmodels=["*"]\npublic="{PUBLIC}"\nid="ab"',
            f"key 1: its id is 'ab', and this public key's is '{KEY_ID}'",
        ),
        (
            f'[[key]]\nmodels=["*"]\npublic="{PUBLIC}"\n' * 2,
            f"key 2: {KEY_ID} is there twice",
        ),
        ('[[key]]\n[[key]]\nmodels=["*"]', "key 1: .*; key 2: "),
    ],
)
def test_bad_file_of_trusted_keys_is_refused(tmp_path: Path, text: str, words: str) -> None:
    """Every fault in words, with the table's number."""
    file = tmp_path / "trusted.toml"
    file.write_text(text, errors="surrogateescape")
    with pytest.raises(InvalidKey, match=words):
        TrustedKeys.load(file)


def test_missing_file_of_trusted_keys_is_named(tmp_path: Path) -> None:
    """A node must not start believing everything because a file is gone."""
    with pytest.raises(InvalidKey, match=r"cannot read trusted keys .*nothing\.toml: No such"):
        TrustedKeys.load(tmp_path / "nothing.toml")


def test_public_part_is_read_from_any_file(tmp_path: Path) -> None:
    """Of a private key, of a public one, and nothing secret is in the table."""
    key = SigningKey.generate()
    private = private_file(tmp_path, key.to_pem())
    (found,) = read_keys(private, name="ci", models=("r*",))
    assert found == TrustedKey(key.public, ("r*",), "ci")
    assert tomllib.loads(found.to_toml())["key"][0]["id"] == key.id
    public = tmp_path / "public.pem"
    public.write_bytes(public_key())
    assert read_keys(public)[0].models == ()
    assert "# models" in read_keys(public)[0].to_toml()


def test_signing_key_must_be_trusted() -> None:
    """Whoever signs with another key would write what the fleet refuses."""
    key, other = SigningKey.generate(), SigningKey.generate()
    with pytest.raises(InvalidKey, match=f"{key.id} is not among the trusted keys"):
        EventSecurity(signing_key=key, trusted_keys=trusting((other, "*")))


def test_says_beforehand_what_the_fleet_would_refuse() -> None:
    """Without a key, for a model of others, and without validation."""
    key = SigningKey.generate()
    trusted = trusting((key, "rank*"))
    EventSecurity().check_model("spam")
    EventSecurity(signing_key=key).check_model("spam")
    with pytest.raises(NotTrusted, match="give a signing key"):
        EventSecurity(trusted_keys=trusted).check_model("ranker")
    security = EventSecurity(signing_key=key, trusted_keys=trusted, requires_validation=True)
    security.check_model("ranker")
    with pytest.raises(NotTrusted, match=r"may sign for models rank\*, and not for 'spam'"):
        security.check_model("spam")
    version = ModelVersion(model="ranker", version=1, uri="/x", digest="sha256:0", size_bytes=1)
    with pytest.raises(NotTrusted, match="was not validated"):
        security.check_record("ranker", version)
    with pytest.raises(NotTrusted, match="not validated"):
        security.check_unvalidated("ranker")
    for fine in (
        ModelVersion(
            model="ranker",
            version=1,
            uri="/x",
            digest="sha256:0",
            size_bytes=1,
            lifecycle=Lifecycle.RETIRED,
        ),
        ModelVersion(
            model="ranker",
            version=1,
            uri="/x",
            digest="sha256:0",
            size_bytes=1,
            validation=Validation(examples=3),
        ),
        None,
    ):
        security.check_record("ranker", fine)


def test_keys_come_from_the_environment(tmp_path: Path) -> None:
    """What is given goes before the variables."""
    key = SigningKey.generate()
    file = private_file(tmp_path, key.to_pem())
    trusted = tmp_path / "trusted.toml"
    trusted.write_text(TrustedKey(key.public, ("*",)).to_toml())
    variables = {"HEADRACE_SIGNING_KEY": str(file), "HEADRACE_TRUSTED_KEYS": str(trusted)}
    found = EventSecurity.from_environment(environment=variables)
    assert found.signing_key
    assert found.signing_key.id == key.id
    assert found.trusted_keys
    assert str(found.trusted_keys) == key.id
    assert EventSecurity.from_environment(environment={}) == EventSecurity()
    with pytest.raises(InvalidKey, match="/nowhere"):
        EventSecurity.from_environment("/nowhere", environment=variables)


@pytest.mark.parametrize(
    "statement",
    [
        "from headrace.publisher.signing import SigningKey; SigningKey.generate()",
        "from headrace.publisher.signing import SigningKey; SigningKey.load('/x')",
        "from headrace.publisher.trusted_keys import TrustedKeys; TrustedKeys.load('/x')",
    ],
)
def test_missing_extra_is_named(statement: str) -> None:
    """The light install signs nothing, and says what to install."""
    script = f"""
import sys
sys.modules["cryptography"] = None
import headrace.publisher
{statement}
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert "InvalidKey: signed events need the signing extra: pip install 'headrace[signing]'" in (
        ended.stderr
    )
