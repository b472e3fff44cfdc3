"""How answers of a replay find those given then."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from headrace.cli.replay.matching import Matcher, Place, Waiting
from headrace.consumer.stream.replaying import PastRequest
from headrace.publisher.clients import Message, TopicPartition
from headrace.publisher.ranges import Span

PARTITION = TopicPartition("responses", 0)


def answer(offset: int, correlation_id: str, model: str = "m", key: bytes = b"k") -> PastRequest:
    """Return an answer record."""
    headers = [("correlation-id", correlation_id.encode()), ("model", model.encode())]
    return PastRequest("responses", 0, offset, 0, key, b"", headers)


class Log:
    """A partition in memory that counts what is read."""

    def __init__(self, *records: PastRequest) -> None:
        self.records = records
        self.read_count = 0

    async def read(self, partition: TopicPartition, start: int, end: int) -> AsyncIterator[Message]:
        """Yield a stretch."""
        assert partition == PARTITION
        for record in self.records:
            if start <= record.offset < end:
                self.read_count += 1
                yield record


class Joined:
    """A matcher, and what it has settled: correlation id and the offset of the answer then."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.pairs: list[tuple[str, int | None]] = []
        end = max((record.offset for record in log.records), default=-1) + 1
        self.matcher = Matcher("m", PARTITION, Span(0, end), self._note)

    def _note(self, waiting: Waiting, then: Message | None) -> None:
        self.pairs.append((waiting.correlation_id.decode(), then.offset if then else None))

    async def settle(self, ids: Sequence[str], share: float = 1.0) -> None:
        """Let answers wait, and settle a share of what waits."""
        for number, each in enumerate(ids):
            place = Place("requests", 0, number)
            self.matcher.add(Waiting(place, each.encode(), answer(number, each)))
        await self.matcher.settle(self.log, share=share)


async def test_joins_by_correlation_id_and_key_among_answers_of_others() -> None:
    """Another model's answer, or one to another key, is no match."""
    log = Log(
        *(answer(0, "a", model="n"), answer(1, "a", key=b"other"), answer(2, "a"), answer(3, "b"))
    )
    joined = Joined(log)
    await joined.settle(["a", "b"])
    assert joined.pairs == [("a", 2), ("b", 3)]


async def test_equal_ids_are_joined_in_order() -> None:
    """A client that begins to count anew uses its ids again."""
    joined = Joined(Log(*(answer(n, each) for n, each in enumerate("abab"))))
    await joined.settle(["a", "b", "a", "b"])
    assert joined.pairs == [("a", 0), ("b", 1), ("a", 2), ("b", 3)]


async def test_what_is_passed_over_is_not_found() -> None:
    """The log is in the order of requests: it need not be read to its end for what is missing."""
    log = Log(*(answer(n, f"{n}") for n in range(1000)))
    joined = Joined(log)
    await joined.settle(["5", "gone", "6", "7", "8", "9"], share=0.75)
    assert sorted(joined.pairs, key=str) == [
        *(("5", 5), ("6", 6), ("7", 7), ("8", 8)),
        ("gone", None),
    ]
    assert log.read_count == 9
    assert len(joined.matcher) == 1
    await joined.settle(["10"])
    assert joined.pairs[-2:] == [("9", 9), ("10", 10)]
    assert log.read_count == 11


async def test_a_block_without_answers_does_not_lose_the_place() -> None:
    """The answers may be gone for a while, and come again."""
    joined = Joined(Log(answer(0, "a"), answer(1, "z")))
    await joined.settle(["a"])
    await joined.settle(["b", "c", "d"], share=0.75)
    await joined.settle(["z"])
    assert joined.pairs == [("a", 0), ("b", None), ("c", None), ("d", None), ("z", 1)]
