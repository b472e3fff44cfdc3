"""What waits for Kafka: in order, and bounded when Kafka is away for long."""

from headrace.consumer.control.outbox import Note, Outbox
from headrace.schemas.records import NodeStatus

HEARTBEAT = b"node"


def beat(offset: int) -> Note:
    return Note(HEARTBEAT, NodeStatus(node="node", incarnation=1, at_ms=0, control_offset=offset))


def note(key: str, at: int = 0) -> Note:
    return Note(key.encode(), NodeStatus(node="node", incarnation=1, at_ms=at, control_offset=-1))


def test_keeps_every_note_in_order_while_there_is_room() -> None:
    """Transitions of one version are told one by one."""
    outbox = Outbox(HEARTBEAT, max_pending=4)
    notes = [note("a", 1), note("a", 2), beat(1), note("a", 3)]
    for each in notes:
        outbox.put(each)
    assert outbox.take(10) == notes
    assert not outbox.take(10)


def test_keeps_the_latest_per_version_past_the_bound() -> None:
    """A long outage leaves one note for each version, and one heartbeat."""
    outbox = Outbox(HEARTBEAT, max_pending=4)
    for at in range(100):
        outbox.put(note("a", at))
        outbox.put(beat(at))
        outbox.put(note("b", at))
    kept = outbox.take(100)
    assert len(kept) <= 5
    assert [n for n in kept if n.key == b"a"][-1] == note("a", 99)
    assert [n for n in kept if n.key == b"b"][-1] == note("b", 99)


def test_no_heartbeat_overtakes_a_status_that_was_noted_before_it() -> None:
    """Whatever is dropped, what precedes the last heartbeat still precedes it."""
    outbox = Outbox(HEARTBEAT, max_pending=3)
    for each in (note("a", 1), beat(1), note("b", 1), note("a", 2), beat(2)):
        outbox.put(each)
    assert outbox.take(10) == [note("a", 2), note("b", 1), beat(2)]


def test_a_heartbeat_right_behind_another_replaces_it() -> None:
    """An idle node that cannot reach Kafka does not queue heartbeats."""
    outbox = Outbox(HEARTBEAT)
    for offset in range(50):
        outbox.put(beat(offset))
    assert outbox.take(10) == [beat(49)]


def test_takes_the_oldest_first() -> None:
    """What does not fit into one send comes with the next."""
    outbox = Outbox(HEARTBEAT)
    for at in range(5):
        outbox.put(note("a", at))
    assert [*outbox.take(2), *outbox.take(9)] == [note("a", at) for at in range(5)]
