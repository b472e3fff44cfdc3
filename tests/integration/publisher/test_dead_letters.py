"""Dead letters on a real topic: found, made whole, put back once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest

from headrace.consumer.stream.letters import cut_to_fit, dead_letter
from headrace.publisher import BrokerRefused, KafkaConnection, TopicMismatch, UnknownLetter
from headrace.publisher.clients import AIOKafkaProducer, KafkaError, Message, TopicPartition
from headrace.publisher.dead_letters import DeadLetters
from headrace.publisher.letter_replay import Fate, LetterReplay, Replayed, ReplayOptions
from headrace.publisher.letters import LetterFilter, LetterId, mark_headers
from headrace.publisher.spans import span_reader
from headrace.publisher.topics import ensure_topics
from headrace.schemas.codec import encode
from headrace.schemas.records import InferenceRequest
from headrace.schemas.topics import Topics, TopicSpec, specs

PARTITIONS = 3
Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True)
class Post:
    """Sends requests, and writes of them the dead letters that a node would write."""

    connection: KafkaConnection
    topics: Topics
    producer: AIOKafkaProducer

    async def send(
        self, value: bytes, key: bytes = b"k", partition: int = 1, headers: Headers = ()
    ) -> Message:
        """Append a request and return it as a node reads it."""
        place = await (
            await self.producer.send(
                self.topics.requests,
                value=value,
                key=key,
                partition=partition,
                headers=list(headers),
            )
        )
        async with span_reader(self.connection) as reader:
            at = TopicPartition(self.topics.requests, partition)
            (message,) = [m async for m in reader.read(at, place.offset, place.offset + 1)]
        return message

    async def fail(self, request: Message, reason: str, max_bytes: int = 10**6) -> LetterId:
        """Write the dead letter of a request."""
        letter = cut_to_fit(dead_letter(self.topics.dead_letters, 0, request, reason), max_bytes)
        # A batch, as the node does: a letter that was cut may have neither key nor value.
        batch = self.producer.create_batch()
        batch.append(timestamp=None, key=letter.key, value=letter.value, headers=letter.headers)
        place = await (await self.producer.send_batch(batch, letter.topic, partition=0))
        return LetterId(place.partition, place.offset)

    async def poison(self, value: bytes, reason: str = "no good") -> LetterId:
        """Send a request and make a dead letter of it."""
        return await self.fail(await self.send(value), reason)

    async def read(self, topic: str, partitions: int = PARTITIONS) -> list[Message]:
        """Return what is committed on a topic."""
        found: list[Message] = []
        async with span_reader(self.connection) as reader:
            for number in range(partitions):
                partition = TopicPartition(topic, number)
                span = await reader.bounds(partition)
                found += [message async for message in reader.read(partition, *span)]
        return found

    async def replayed(self, topic: str = "", partitions: int = PARTITIONS) -> list[Message]:
        """Return the requests that carry the header of a replay."""
        found = await self.read(topic or self.topics.requests, partitions)
        return [message for message in found if "replayed-from" in dict(message.headers)]


@pytest.fixture
async def post(connection: KafkaConnection, topics: Topics) -> AsyncIterator[Post]:
    await ensure_topics(connection, specs(topics, request_partitions=PARTITIONS))
    async with connection.producer() as producer:
        yield Post(connection, topics, producer)


@pytest.fixture
async def letters(post: Post) -> AsyncIterator[DeadLetters]:
    async with DeadLetters(post.connection, post.topics) as opened:
        yield opened


async def replay(
    letters: DeadLetters,
    wanted: LetterFilter | None = None,
    *,
    to_topic: str | None = None,
    keep_deadline: bool = False,
    again: bool = False,
) -> list[Replayed]:
    """Replay what is wanted, or all."""
    options = ReplayOptions(to_topic=to_topic, keep_deadline=keep_deadline, again=again)
    survey = await letters.survey(wanted or LetterFilter())
    return await LetterReplay(letters, options).run(survey, lambda _done, _total: None)


def fates(replayed: Sequence[Replayed]) -> list[Fate]:
    """Return what became of each letter."""
    return [each.fate for each in replayed]


async def test_lists_the_newest_first_and_no_more_than_asked(
    post: Post, letters: DeadLetters
) -> None:
    """What went wrong last is on top; filters look at reason and model."""
    good = encode(InferenceRequest(model="ranker"))
    for number in range(4):
        await post.poison(b"bad", f"reason {number}")
    await post.poison(good, "no such reply topic")
    found = await letters.newest(limit=3)
    assert [entry.reason for entry in found] == ["no such reply topic", "reason 3", "reason 2"]
    assert [e.reason for e in await letters.newest(LetterFilter(reason="Reason 1"))] == ["reason 1"]
    (ranker,) = await letters.newest(LetterFilter(model="ranker"))
    assert ranker.origin is not None
    assert ranker.origin.topic == post.topics.requests
    since = LetterFilter(since_ms=found[1].timestamp_ms)
    assert len(await letters.newest(since)) >= 2
    assert await letters.newest(LetterFilter(since_ms=found[0].timestamp_ms + 1)) == []


async def test_reads_committed_letters_only(
    connection: KafkaConnection, post: Post, letters: DeadLetters
) -> None:
    """A letter of an aborted transaction is none, also when the topic ends with it."""
    await post.poison(b"bad", "committed")
    async with connection.producer(transactional_id=post.topics.dead_letters) as producer:
        await producer.begin_transaction()
        await (await producer.send(post.topics.dead_letters, value=b"x", partition=0))
        await producer.abort_transaction()
    async with asyncio.timeout(20):
        assert [entry.reason for entry in await letters.newest()] == ["committed"]


async def test_a_replayed_request_is_the_original_again(post: Post, letters: DeadLetters) -> None:
    """Partition, key, value and headers are kept, the deadline is not, and the letter is named."""
    headers = [("correlation-id", b"c"), ("deadline-ms", b"1"), ("x", b"y")]
    request = await post.send(b"\x00bad", b"key", 2, headers)
    letter = await post.fail(request, "no good")
    (fate,) = await replay(letters)
    assert fate == Replayed(letter, Fate.REPLAYED, f"{post.topics.requests}/2")
    (again,) = await post.replayed()
    assert (again.partition, again.key, again.value) == (2, b"key", b"\x00bad")
    place = f"{post.topics.dead_letters}/{letter.partition}/{letter.offset}".encode()
    assert list(again.headers) == [headers[0], headers[2], ("replayed-from", place)]
    await replay(letters, keep_deadline=True, again=True)
    assert list((await post.replayed())[1].headers) == [*headers, ("replayed-from", place)]


async def test_a_letter_is_replayed_once(post: Post, letters: DeadLetters) -> None:
    """The mark is seen in the list and by the next replay, unless it is told to do it again."""
    first, second = await post.poison(b"1"), await post.poison(b"2")
    only = LetterFilter(ids=frozenset({first}))
    assert fates(await replay(letters, only)) == [Fate.REPLAYED]
    marked = {entry.id: entry.replayed_at_ms for entry in await letters.newest()}
    assert marked[first] is not None
    assert marked[second] is None
    assert {each.id: each.fate for each in await replay(letters)} == {
        first: Fate.SKIPPED,
        second: Fate.REPLAYED,
    }
    assert fates(await replay(letters, only, again=True)) == [Fate.REPLAYED]
    assert [message.value for message in await post.replayed()] == [b"1", b"2", b"1"]


async def test_a_survey_that_is_out_of_date_replays_nothing_twice(
    post: Post, letters: DeadLetters
) -> None:
    """What somebody else replayed since the letters were chosen is noticed."""
    await post.poison(b"1")
    survey = await letters.survey()
    await replay(letters)
    late = await LetterReplay(letters, ReplayOptions()).run(survey, lambda _done, _total: None)
    assert fates(late) == [Fate.SKIPPED]
    assert len(await post.replayed()) == 1


async def test_a_rehearsal_changes_nothing(post: Post, letters: DeadLetters) -> None:
    """It says what would be done, and why something would not."""
    letter = await post.poison(b"1")
    told = await LetterReplay(letters, ReplayOptions()).rehearse(await letters.survey())
    assert told == [Replayed(letter, Fate.REPLAYED, f"{post.topics.requests}/1")]
    assert await post.replayed() == []
    assert (await letters.newest())[0].replayed_at_ms is None


async def test_an_interrupted_replay_is_ended_by_the_next_one(
    connection: KafkaConnection, post: Post, letters: DeadLetters
) -> None:
    """What a replay had written without a commit never appears; the next one does all of it."""
    letter = await post.poison(b"1")
    async with connection.producer(
        transactional_id=f"headrace.replay.{post.topics.dead_letters}"
    ) as frozen:
        await frozen.begin_transaction()
        headers = [("replayed-from", b"x")]
        await (await frozen.send(post.topics.requests, value=b"1", partition=1, headers=headers))
        mark = mark_headers(letter)
        await (await frozen.send(letters.topic, key=b"m", partition=0, headers=mark))
        assert fates(await replay(letters)) == [Fate.REPLAYED]
        with pytest.raises((KafkaError, AssertionError)):
            await frozen.commit_transaction()
    assert len(await post.replayed()) == 1


async def test_a_mark_behind_an_open_transaction_is_waited_for(
    connection: KafkaConnection, post: Post, letters: DeadLetters
) -> None:
    """A node that is writing dead letters hides marks from committed readers, and not from us."""
    letter = await post.poison(b"1")
    async with connection.producer(transactional_id=post.topics.requests) as node:
        await node.begin_transaction()
        await (await node.send(letters.topic, value=b"x", partition=0))
        mark = mark_headers(letter)
        await (await post.producer.send(letters.topic, key=b"m", partition=0, headers=mark))
        replaying = asyncio.ensure_future(replay(letters))
        done, _ = await asyncio.wait([replaying], timeout=1.5)
        assert not done
        await node.commit_transaction()
        async with asyncio.timeout(20):
            assert fates(await replaying) == [Fate.SKIPPED]
    assert await post.replayed() == []


async def test_one_refused_record_leaves_nothing_replayed(post: Post, letters: DeadLetters) -> None:
    """All or nothing: neither requests nor marks of the failed transaction are there."""
    narrow = f"{post.topics.requests}.narrow"
    spec = TopicSpec(name=narrow, partitions=1, configs={"max.message.bytes": "2000"})
    await ensure_topics(post.connection, [spec])
    for value in (b"1", bytes(5000), b"3"):
        await post.poison(value)
    with pytest.raises(BrokerRefused, match="none of them was replayed"):
        await replay(letters, to_topic=narrow)
    assert await post.replayed(narrow, 1) == []
    assert fates(await replay(letters)) == [Fate.REPLAYED] * 3
    assert [message.value for message in await post.replayed()] == [b"1", bytes(5000), b"3"]


async def test_a_cut_letter_is_read_at_its_origin(post: Post, letters: DeadLetters) -> None:
    """What the dead-letter topic did not take comes from where the request was sent."""
    request = await post.send(b"x" * 5000, b"k" * 3000, 0, [("big", bytes(3000))])
    letter = await post.fail(request, "no good", max_bytes=1500)
    assert (await letters.get(letter)).value is None
    assert fates(await replay(letters)) == [Fate.REPLAYED]
    (again,) = await post.replayed()
    assert (again.partition, again.key, again.value) == (0, request.key, request.value)
    assert again.headers[0] == ("big", bytes(3000))


@pytest.mark.parametrize("change", ["value", "offset", "topic"])
async def test_a_cut_letter_whose_original_is_gone_is_refused(
    post: Post, letters: DeadLetters, change: str
) -> None:
    """Another record in its place, none, and no topic are told from the original."""
    request = await post.send(b"x" * 5000)

    @dataclass(frozen=True)
    class Altered:
        topic: str = request.topic if change != "topic" else f"{request.topic}.gone"
        partition: int = request.partition
        offset: int = request.offset if change != "offset" else 999
        timestamp: int = request.timestamp
        key: bytes | None = request.key
        value: bytes | None = b"y" * (4999 if change == "value" else 5000)
        headers: Headers = ()

    await post.fail(Altered(), "no good", max_bytes=1500)
    (fate,) = await replay(letters)
    assert fate.fate is Fate.REFUSED
    assert "exist any more" in fate.why or "does not hold the request any more" in fate.why
    assert await post.replayed() == []


async def test_replays_to_another_topic(post: Post, letters: DeadLetters) -> None:
    """A record that names no origin can go there, too; to its origin it cannot."""
    other = f"{post.topics.requests}.other"
    await ensure_topics(post.connection, [TopicSpec(name=other, partitions=2)])
    await post.poison(b"1")
    await (await post.producer.send(post.topics.dead_letters, value=b"stray", partition=0))
    told = await LetterReplay(letters, ReplayOptions()).rehearse(await letters.survey())
    assert [each.fate for each in told] == [Fate.REPLAYED, Fate.REFUSED]
    assert "--to-topic" in told[1].why
    assert fates(await replay(letters, to_topic=other)) == [Fate.REPLAYED] * 2
    assert sorted(m.value or b"" for m in await post.replayed(other, 2)) == [b"1", b"stray"]
    with pytest.raises(TopicMismatch, match="nowhere"):
        await replay(letters, to_topic="nowhere", again=True)


async def test_a_letter_that_is_not_there_is_named(post: Post, letters: DeadLetters) -> None:
    """Whoever names a letter wants it, and hears that there is none."""
    await post.poison(b"1")
    with pytest.raises(UnknownLetter, match="no dead letter 0:99"):
        await letters.get(LetterId(0, 99))
    with pytest.raises(UnknownLetter, match="no dead letter 5:0"):
        await letters.survey(LetterFilter(ids=frozenset({LetterId(5, 0), LetterId(0, 0)})))


async def test_a_deployment_without_the_topic_is_told_what_to_do(
    connection: KafkaConnection, topics: Topics
) -> None:
    """The missing topic is named, and the command that makes it."""
    with pytest.raises(TopicMismatch, match="headrace topics create"):
        async with DeadLetters(connection, topics):
            pass


async def test_many_letters_are_replayed_in_their_order(post: Post, letters: DeadLetters) -> None:
    """More than one transaction takes, each letter once, and the order of a partition is kept."""
    template = await post.send(b"template")
    sent = [
        await post.producer.send(
            post.topics.dead_letters,
            value=b"%d" % number,
            key=b"k",
            partition=0,
            headers=dead_letter(letters.topic, 0, template, "no good").headers,
        )
        for number in range(6000)
    ]
    await asyncio.gather(*sent)
    assert fates(await replay(letters)) == [Fate.REPLAYED] * 6000
    assert [int(m.value or b"") for m in await post.replayed()] == list(range(6000))
    assert fates(await replay(letters)) == [Fate.SKIPPED] * 6000
