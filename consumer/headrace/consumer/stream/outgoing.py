"""A record on its way out, and what it takes of a topic."""

from __future__ import annotations

from typing import Final, NamedTuple

from headrace.consumer.stream.clients import Message

# What a record and the batch around it take beside key, value and headers.
_RECORD_OVERHEAD_BYTES: Final = 128
_HEADER_OVERHEAD_BYTES: Final = 12

# A list, since aiokafka's compiled code takes nothing else; never changed once it is in a record.
OutHeaders = list[tuple[str, bytes]]


class Outgoing(NamedTuple):
    """One record to send, and the request that it comes from.

    `may_be_large` asks for it to be measured: measuring every record would cost more than
    sending it.
    """

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: OutHeaders
    request: Message
    is_dead_letter: bool = False
    may_be_large: bool = False

    @property
    def size_bytes(self) -> int:
        """At least what the record takes, alone in a batch and not compressed."""
        headers = sum(
            # A header may have no value, whatever aiokafka's annotations say.
            len(name.encode()) + len(value or b"") + _HEADER_OVERHEAD_BYTES
            for name, value in self.headers
        )
        payload = len(self.key or b"") + len(self.value or b"")
        return payload + headers + _RECORD_OVERHEAD_BYTES


class Shipment(NamedTuple):
    """Records for one partition of one topic, in order, each small enough for it."""

    topic: str
    partition: int
    max_bytes: int
    records: list[Outgoing]
