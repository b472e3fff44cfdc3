"""Whose signatures count, and for which models: a TOML file of public keys.

    [[key]]
    name = "ci"                                          # for people; may be left out
    id = "0f4c1f9f2f6a1c3e"                              # checked when it is there
    public = "cGcKtG6R6JXH4yEJ4xLbWJQqj8pZb8N9tJtqM3Q0b5Y="  # 32 bytes in base64
    models = ["ranker*", "spam"]                         # globs; case counts

Needs the extra `headrace[signing]`; the module itself can be imported without.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, cast

from headrace.publisher.errors import InvalidKey
from headrace.publisher.key_files import need_cryptography, read_public_key
from headrace.publisher.signing import Seal, SigningKey, key_id_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_PUBLIC_BYTES: Final = 32
_MAX_FILE_BYTES: Final = 2**20
_MEMBERS: Final = frozenset({"public", "models", "name", "id"})


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key and the models that it may sign for, as globs.

    **Concurrency:** immutable; share it freely.
    """

    public: bytes
    models: tuple[str, ...]
    name: str = ""
    id: str = field(init=False)
    _verifier: Ed25519PublicKey = field(init=False, repr=False, compare=False)
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make what verifying needs; raise InvalidKey when the extra is not installed."""
        need_cryptography()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - an extra
            Ed25519PublicKey,
        )

        globs = "|".join(fnmatch.translate(glob) for glob in self.models)
        object.__setattr__(self, "id", key_id_of(self.public))
        object.__setattr__(self, "_verifier", Ed25519PublicKey.from_public_bytes(self.public))
        object.__setattr__(self, "_pattern", re.compile(globs))

    def __str__(self) -> str:
        """Return what people call it."""
        return f"{self.name!r} ({self.id})" if self.name else self.id

    def may_sign_for(self, model: str) -> bool:
        """Return whether a glob fits the model's name."""
        return self._pattern.match(model) is not None

    def has_signed(self, seal: Seal, key: bytes, value: bytes | None) -> bool:
        """Return whether the seal is this key's, over exactly this record."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra

        try:
            self._verifier.verify(seal.signature, seal.message(key, value))
        except InvalidSignature:
            return False
        return True

    @property
    def public_text(self) -> str:
        """The public key in base64."""
        return base64.b64encode(self.public).decode()

    def to_toml(self) -> str:
        """Return the table that stands for it in a file of trusted keys."""
        name = [f"name = {_quoted(self.name)}"] if self.name else []
        globs = ", ".join(map(_quoted, self.models))
        models = f"models = [{globs}]" if globs else '# models = ["name them here"]'
        return "\n".join(
            [
                "[[key]]",
                *name,
                f'id = "{self.id}"',
                f'public = "{self.public_text}"',
                models,
            ]
        )


class TrustedKeys:
    """The keys whose signatures count.

    **Concurrency:** immutable; share it freely.
    """

    def __init__(self, keys: Iterable[TrustedKey]) -> None:
        self._keys = {key.id: key for key in keys}

    def __iter__(self) -> Iterator[TrustedKey]:
        return iter(self._keys.values())

    def __str__(self) -> str:
        """Return the keys as people call them."""
        return ", ".join(map(str, self))

    def find(self, key_id: str) -> TrustedKey | None:
        """Return the key of that id, None when it is not trusted."""
        return self._keys.get(key_id)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the keys of a TOML file.

        Raises:
            InvalidKey: the file cannot be read or says what cannot be, every fault in words; or
                the extra is not installed.
        """
        need_cryptography()
        file = Path(path).expanduser()
        keys, faults = _keys_of(_tables(file))
        if faults:
            raise InvalidKey(f"trusted keys in {file} cannot be used: {'; '.join(faults)}")
        return cls(keys)


def read_keys(file: Path, *, name: str = "", models: tuple[str, ...] = ()) -> list[TrustedKey]:
    """Return the public keys of a file: of trusted keys, of a public or of a private key.

    `name` and `models` are for a single key, whose file does not tell them.

    Raises:
        InvalidKey: the file is none of these, or a private key that others may read.
    """
    try:
        with file.expanduser().open("rb") as opened:
            head = opened.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise InvalidKey(f"cannot read {file}: {error.strerror or error}") from error
    if b"PRIVATE KEY-----" in head:
        return [TrustedKey(SigningKey.load(file).public, models, name)]
    if b"PUBLIC KEY-----" in head:
        return [TrustedKey(read_public_key(head, file), models, name)]
    return list(TrustedKeys.load(file))


def _tables(file: Path) -> list[object]:
    """Return what a file has under `key`."""
    try:
        with file.open("rb") as opened:
            parsed = tomllib.loads(opened.read(_MAX_FILE_BYTES).decode())
    except OSError as error:
        raise InvalidKey(
            f"cannot read trusted keys {file}: {error.strerror or error}: give a TOML file of "
            "[[key]] tables, as 'headrace keys generate' prints them"
        ) from error
    except ValueError as error:
        raise InvalidKey(f"trusted keys {file} are not TOML: {error}") from error
    tables = parsed.get("key")
    if not isinstance(tables, list) or not tables or parsed.keys() != {"key"}:
        raise InvalidKey(
            f"trusted keys {file} must hold [[key]] tables, at least one, and nothing else: "
            "'headrace keys generate' and 'headrace keys show' print them"
        )
    return cast("list[object]", tables)


def _keys_of(tables: Iterable[object]) -> tuple[list[TrustedKey], list[str]]:
    """Return the keys of these tables, and in words what is wrong with those that give none."""
    keys: list[TrustedKey] = []
    faults: list[str] = []
    for number, table in enumerate(tables, 1):
        try:
            key = _read_key(table)
            if any(key.id == other.id for other in keys):
                raise ValueError(f"{key} is there twice: give its models in one table")
        except ValueError as error:
            faults.append(f"key {number}: {error}")
        else:
            keys.append(key)
    return keys, faults


def _read_key(value: object) -> TrustedKey:
    """Return the key of one table; ValueError, in words, when there is none."""
    if not isinstance(value, dict):
        raise ValueError("it is not a table")  # noqa: TRY004 - the text is wrong, no caller
    table = cast("dict[str, object]", value)
    unknown = sorted(table.keys() - _MEMBERS)
    if unknown:
        raise ValueError(f"unknown: {', '.join(unknown)}; known are {', '.join(sorted(_MEMBERS))}")
    key = TrustedKey(_public(table), _globs(table), _text(table, "name"))
    told = _text(table, "id")
    if told and told != key.id:
        raise ValueError(f"its id is {told!r:.40}, and this public key's is {key.id!r}")
    return key


def _public(table: Mapping[str, object]) -> bytes:
    text = _text(table, "public")
    try:
        public = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"public is not base64: {error}") from error
    if len(public) != _PUBLIC_BYTES:
        raise ValueError(
            f"public has {len(public)} bytes, and an Ed25519 key {_PUBLIC_BYTES}: take it from "
            "'headrace keys show'"
        )
    return public


def _globs(table: Mapping[str, object]) -> tuple[str, ...]:
    models = table.get("models")
    if not isinstance(models, list) or not models:
        raise ValueError('models must be a list of globs, such as ["ranker*"], or ["*"] for all')
    globs = cast("list[object]", models)
    if not all(isinstance(glob, str) and glob for glob in globs):
        raise ValueError("models holds what is no glob: use texts that are not empty")
    return tuple(cast("list[str]", globs))


def _text(table: Mapping[str, object], name: str) -> str:
    value = table.get(name, "")
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a text")  # noqa: TRY004 - the text is wrong, no caller
    return value


def _quoted(text: str) -> str:
    """Return a TOML string; its escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False)
