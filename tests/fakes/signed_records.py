"""Records of a control topic as a consumer hands them out, signed or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.publisher.signing import SigningKey
from headrace.publisher.trusted_keys import TrustedKey, TrustedKeys
from headrace.schemas.records import version_key

NOW_MS = 1_800_000_000_000
LATER_MS = NOW_MS + 60_000


@dataclass(frozen=True)
class Record:
    """One record; by default written at NOW_MS by the broker's clock."""

    key: bytes | None = version_key("ranker", 1)
    value: bytes | None = b"value"
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp: int = NOW_MS
    timestamp_type: int = 1


def signed(
    key: SigningKey,
    generation: int = 1,
    *,
    value: bytes | None = b"value",
    of: bytes = version_key("ranker", 1),
    not_after_ms: int = LATER_MS,
) -> Record:
    """Return a record that a key has signed."""
    headers = key.sign(of, value, generation=generation, not_after_ms=not_after_ms)
    return Record(of, value, headers)


def trusting(*keys: tuple[SigningKey, str]) -> TrustedKeys:
    """Return trust in keys, each for the models of its glob."""
    return TrustedKeys(TrustedKey(key.public, (glob,)) for key, glob in keys)
