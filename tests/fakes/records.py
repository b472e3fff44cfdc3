"""Records as a consumer hands them out, without a broker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """A record; a header may have no value, as in Kafka."""

    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    key: bytes | None = None
    offset: int = 0
    topic: str = "requests"
    partition: int = 0
    timestamp: int = 0
