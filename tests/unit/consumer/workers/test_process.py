"""A worker's loop: frames in, and few frames out, whatever the calls are."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator, Sequence
from typing import BinaryIO, cast

import numpy as np
import pytest

from headrace.consumer.core.calls import Calls, Encoding
from headrace.consumer.core.codes import Code
from headrace.consumer.platforms.platform import LoadOptions, Model
from headrace.consumer.workers import frames, process
from headrace.schemas.records import Batching
from tests.unit.consumer.formats.arithmetic import Arithmetic
from tests.unit.consumer.formats.calling import FAR, make_call, rows, values

LOAD = frames.Load("arithmetic", "/nowhere", "m", 7, 1, 1, Batching(), yields_cpu=False)


class ArithmeticPlatform:
    """Loads the model of numpy functions.

    **Concurrency:** one caller at a time.
    """

    def preload(self) -> None:
        """Import nothing."""

    def load(self, path: str, options: LoadOptions) -> Model:
        """Return the model."""
        del path, options
        return Arithmetic()


class Node:
    """The node's end of the stream.

    **Concurrency:** one caller at a time.
    """

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._reader = cast("BinaryIO", stream.makefile("rb"))

    def send(self, message: frames.ToWorker) -> None:
        """Send one frame."""
        self._stream.sendall(frames.encode(message))

    def receive(self) -> frames.FromWorker:
        """Return the next message of the worker."""
        length = frames.body_bytes_of(self._reader.read(frames.LENGTH_BYTES))
        return frames.decode_from_worker(self._reader.read(length))

    def run(self, number: int, calls: Sequence[Calls]) -> list[frames.Ran]:
        """Return the frames that answer one frame of calls."""
        self.send(frames.Run(number, list(calls)))
        answered, found = 0, list[frames.Ran]()
        while answered < sum(len(each.payloads) for each in calls):
            ran = self.receive()
            assert isinstance(ran, frames.Ran)
            assert ran.id == number
            found.append(ran)
            answered += len(ran.payloads)
        return found


@pytest.fixture
def node() -> Generator[Node]:
    """A node with a worker that has loaded the model."""
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    worker = threading.Thread(target=process.serve, args=(theirs, ArithmeticPlatform()))
    with ours, theirs:
        worker.start()
        end = Node(ours)
        end.send(LOAD)
        assert end.receive() == frames.Loaded(b"", 0, 0)
        yield end
        ours.shutdown(socket.SHUT_RDWR)
        worker.join(20)
    assert not worker.is_alive()


def many(count: int) -> Calls:
    """Return so many requests that differ in their values."""
    payloads = [make_call(rows(1, start=n)).payloads[0] for n in range(count)]
    return Calls(Encoding.AVRO, payloads, [FAR] * count)


def test_equal_requests_are_answered_by_one_frame_in_their_order(node: Node) -> None:
    """A frame of equal requests comes back as payloads alone, several groups of them as well."""
    [ran] = node.run(5, [many(20), many(10)])
    assert ran.positions is None
    assert ran.faults == {}
    for n, payload in enumerate(ran.payloads):
        np.testing.assert_array_equal(values(payload)["sum"], rows(1, start=n % 20)["a"] + 1)


def test_faults_stand_at_the_places_of_their_payloads(node: Node) -> None:
    """In a mixed frame each fault and each answer is that of its own call."""
    garbage = Calls(Encoding.AVRO, [b"garbage"], [FAR])
    total = make_call({"a": np.ones(2, np.float32)}, "total")
    answers: dict[int, bytes | Code] = {}
    for ran in node.run(6, [many(6), garbage, total]):
        assert ran.positions is not None
        for index, position in enumerate(ran.positions):
            fault = ran.faults.get(index)
            answers[position] = fault.code if fault else ran.payloads[index]
    assert sorted(answers) == list(range(8))
    assert answers[6] is Code.INVALID_ARGUMENT
    assert isinstance(answers[7], bytes)
    assert values(answers[7])["total"] == 2


def test_an_answer_too_long_for_a_frame_is_a_fault(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the answer that is too long is refused, and the text says what to do."""
    monkeypatch.setattr(process, "_MAX_ANSWER_BYTES", 1000)
    large = make_call(rows(200))
    [ran] = node.run(7, [many(1), large])
    assert ran.faults.keys() == {1}
    assert ran.payloads[1] == b""
    assert ran.faults[1].code is Code.RESOURCE_EXHAUSTED
    assert "ask for fewer rows" in ran.faults[1].message
