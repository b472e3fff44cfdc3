"""Dead letters: requests that cannot be used, kept byte for byte with the reason."""

from __future__ import annotations

from typing import Final

from headrace.consumer.stream.clients import Message
from headrace.consumer.stream.outgoing import Outgoing
from headrace.schemas.topics import DeadLetterHeader

TRUNCATED_BYTES: Final = DeadLetterHeader.TRUNCATED_BYTES
_MAX_REASON_BYTES: Final = 4096
_ORIGIN_HEADERS: Final = 4


def dead_letter(topic: str, partition: int, message: Message, reason: str) -> Outgoing:
    """Return the dead letter of a request: the original's key, value and headers, and the origin.

    Args:
        topic: the dead-letter topic.
        partition: which of its partitions.
        message: the request.
        reason: in words.
    """
    origin = [
        (DeadLetterHeader.ORIGIN_TOPIC, message.topic.encode()),
        (DeadLetterHeader.ORIGIN_PARTITION, b"%d" % message.partition),
        (DeadLetterHeader.ORIGIN_OFFSET, b"%d" % message.offset),
        (DeadLetterHeader.REASON, reason.encode(errors="replace")[:_MAX_REASON_BYTES]),
    ]
    return Outgoing(topic, partition, message.key, message.value, [*message.headers, *origin])


def cut_to_fit(letter: Outgoing, max_bytes: int) -> Outgoing:
    """Return the letter as its topic takes it, with what had to go counted in a header.

    First the value goes, which can be read again at the origin while it is kept there; then the
    key and the headers of the request.
    """
    whole = letter.size_bytes
    if whole <= max_bytes:
        return letter
    for smaller in (
        letter._replace(value=None),
        letter._replace(value=None, key=None, headers=letter.headers[-_ORIGIN_HEADERS:]),
    ):
        lost = whole - smaller.size_bytes
        cut = smaller._replace(headers=[*smaller.headers, (TRUNCATED_BYTES, b"%d" % lost)])
        if cut.size_bytes <= max_bytes:
            return cut
    return cut
