"""ModelStreamInfer, called by Triton's own clients."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, NamedTuple, cast

import pytest
from grpc import aio

from headrace.consumer.core.calls import Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.rpc import streams
from tests.fakes.servable import FakeServable
from tests.integration.consumer.rpc.rig import OPTIONS, Rig, ready_rig
from tests.integration.consumer.rpc.triton import (
    aio_client,
    floats,
    packed,
    parameters_of,
    stub,
    sync_client,
)

WAIT_SECONDS = 10


def servable_of(rig: Rig) -> FakeServable:
    """Return the servable behind half_plus_two."""
    servable = rig.serving("half_plus_two", 3).servable
    assert isinstance(servable, FakeServable)
    return servable


async def next_of(call: Any) -> Any:  # noqa: ANN401 - Triton's message
    """Return the next answer of a stream."""
    return await asyncio.wait_for(call.read(), WAIT_SECONDS)


async def end_of(call: Any) -> tuple[str, str]:  # noqa: ANN401 - Triton's call
    """Return code and words of the end of a stream whose answers have all been read."""
    async with asyncio.timeout(WAIT_SECONDS):
        return (await call.code()).name, await call.details()


class Result(NamedTuple):
    """What Triton's blocking client hands to the program."""

    result: Any
    error: Any


class Blocking:
    """Triton's blocking client with one stream, whose callback fills a queue.

    **Concurrency:** in threads of its own.
    """

    def __init__(self, port: int) -> None:
        self.results: queue.Queue[Result] = queue.Queue()
        self.client = sync_client(f"127.0.0.1:{port}")
        self.client.start_stream(self._put)

    def ask(self, *values: float, **options: str) -> None:
        """Send a request."""
        self.client.async_stream_infer("half_plus_two", floats(*values), **options)

    def _put(self, result: object, error: object) -> None:
        """Take what came; the client names the arguments."""
        self.results.put(Result(result, error))

    def next(self) -> Result:
        """Return what came next."""
        return self.results.get(timeout=WAIT_SECONDS)

    def close(self, *, cancels: bool = False) -> None:
        """End the stream, after all answers or at once."""
        self.client.stop_stream(cancel_requests=cancels)
        self.client.close()


def ask_thrice(port: int) -> list[tuple[str, list[float]]]:
    """Return the ids and values of three answers."""
    blocking = Blocking(port)
    for number in range(3):
        blocking.ask(number, request_id=f"r{number}")
    found = [blocking.next().result for _ in range(3)]
    blocking.close()
    return [(each.get_response().id, each.as_numpy("y").tolist()) for each in found]


async def test_blocking_client_gets_its_answers_in_order(rig: Rig) -> None:
    """A program tells answers apart by their ids, and by their order."""
    async with rig.door() as door:
        found = await asyncio.to_thread(ask_thrice, door.port)
    assert found == [("r0", [2.0]), ("r1", [2.5]), ("r2", [3.0])]


async def test_asyncio_client_is_answered(rig: Rig) -> None:
    """Its stream ends when its requests do, after the last answer."""

    async def requests() -> AsyncIterator[dict[str, Any]]:
        for number in range(5):
            yield {
                "model_name": "half_plus_two",
                "inputs": floats(number),
                "request_id": f"{number}",
            }

    async with aio_client(rig) as client, asyncio.timeout(WAIT_SECONDS):
        answers = [
            (result.get_response().id, result.as_numpy("y").tolist(), error)
            async for result, error in client.stream_infer(requests())
        ]
    assert answers == [(f"{number}", [number / 2 + 2], None) for number in range(5)]


async def test_requests_of_a_stream_run_at_once(rig: Rig, channel: aio.Channel) -> None:
    """The worker batches what one client sends without waiting."""
    servable = servable_of(rig)
    servable.hold()
    call = stub(channel).ModelStreamInfer()
    for number in range(20):
        await call.write(packed(number, id=f"{number}"))
    await asyncio.wait_for(servable.wait_inside(20), WAIT_SECONDS)
    await servable.release()
    answers = [await next_of(call) for _ in range(20)]
    assert [answer.infer_response.id for answer in answers] == [f"{n}" for n in range(20)]
    await call.done_writing()
    assert await end_of(call) == ("OK", "")


async def test_unread_answers_hold_back_a_client(rig: Rig, channel: aio.Channel) -> None:
    """A node must not fill its memory with what a client sends faster than it is answered."""
    servable = servable_of(rig)
    servable.hold()
    call = stub(channel).ModelStreamInfer()
    for number in range(100):
        await call.write(packed(number))
    await asyncio.wait_for(servable.wait_inside(streams.MAX_UNANSWERED), WAIT_SECONDS)
    # Long enough for a door that reads on.
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(servable.wait_inside(streams.MAX_UNANSWERED + 1), 0.3)
    await servable.release()
    answers = [await next_of(call) for _ in range(100)]
    assert not any(answer.error_message for answer in answers)
    call.cancel()


async def test_large_requests_hold_back_a_client_sooner(
    rig: Rig, channel: aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound is of bytes, too; a single request may be over it."""
    monkeypatch.setattr(streams, "MAX_UNANSWERED_BYTES", 1000)
    servable = servable_of(rig)
    servable.hold()
    call = stub(channel).ModelStreamInfer()
    for size in (100, 100, 1000):
        await call.write(packed(*range(size)))
    await asyncio.wait_for(servable.wait_inside(2), WAIT_SECONDS)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(servable.wait_inside(3), 0.3)
    await servable.release()
    answers = [await next_of(call) for _ in range(3)]
    assert [list(answer.infer_response.outputs[0].shape) for answer in answers] == [
        [100],
        [100],
        [1000],
    ]
    call.cancel()


async def test_request_that_fails_does_not_end_the_stream(channel: aio.Channel) -> None:
    """Its answer says which request that was, and the code beside the words."""
    call = stub(channel).ModelStreamInfer()
    failing = packed(1, id="r1", model_version="9")
    for request in (failing, packed(1, id="r2")):
        await call.write(request)
    failed, answered = await next_of(call), await next_of(call)
    assert failed.error_message == "Servable not found for request: Specific(half_plus_two, 9)"
    response = failed.infer_response
    assert (response.model_name, response.model_version, response.id) == (
        "half_plus_two",
        "9",
        "r1",
    )
    assert parameters_of(response) == {
        "headrace_code": "NOT_FOUND",
        "triton_final_response": True,
    }
    assert answered.error_message == ""
    assert answered.infer_response.id == "r2"
    call.cancel()


async def test_request_that_is_none_fails_alone(channel: aio.Channel) -> None:
    """What cannot be decoded has no id to give back."""
    method = cast("Any", channel).stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
    call = method()
    await call.write(b"\xff" * 9)
    await call.write(packed(1).SerializeToString())
    assert b"the bytes of this request are not a ModelInferRequest" in await next_of(call)
    assert b"half_plus_two" in await next_of(call)
    call.cancel()


async def test_failure_without_words_is_still_a_failure(rig: Rig, channel: aio.Channel) -> None:
    """To a client an answer without an error message is a good one."""
    servable_of(rig).answer_all(Fault(Code.INTERNAL, message=""))
    call = stub(channel).ModelStreamInfer()
    await call.write(packed(1))
    assert (await next_of(call)).error_message == "INTERNAL"
    call.cancel()


@pytest.mark.parametrize("is_asked", [True, False])
async def test_every_answer_is_marked_as_final(channel: aio.Channel, is_asked: bool) -> None:
    """Clients wait for the mark, and Triton gives it whether they ask for an empty one or not."""
    asked = {"triton_enable_empty_final_response": {"bool_param": True}} if is_asked else {}
    call = stub(channel).ModelStreamInfer()
    await call.write(packed(1, parameters=asked))
    answer = await next_of(call)
    assert parameters_of(answer.infer_response) == {"triton_final_response": True}
    assert list(answer.infer_response.raw_output_contents)
    call.cancel()


async def test_request_may_bound_its_own_time(rig: Rig, channel: aio.Channel) -> None:
    """Its time is over, the stream goes on."""
    servable = servable_of(rig)
    servable.hold()
    call = stub(channel).ModelStreamInfer()
    await call.write(packed(1, parameters={"timeout": {"int64_param": 200_000}}))
    answer = await next_of(call)
    assert parameters_of(answer.infer_response)["headrace_code"] == "DEADLINE_EXCEEDED"
    await servable.release()
    await call.write(packed(1))
    assert (await next_of(call)).error_message == ""
    call.cancel()


def cancel_one(port: int, is_inside: queue.Queue[None]) -> Result:
    """Cancel a stream once its request is in the queue, and return what the program hears."""
    blocking = Blocking(port)
    blocking.ask(1)
    is_inside.get(timeout=WAIT_SECONDS)
    blocking.close(cancels=True)
    return blocking.next()


async def test_cancelled_stream_drops_what_it_asked(rig: Rig) -> None:
    """A client that goes away gives places and loans back."""
    servable = servable_of(rig)
    servable.hold()
    is_inside: queue.Queue[None] = queue.Queue()
    async with rig.door() as door:
        asking = asyncio.ensure_future(asyncio.to_thread(cancel_one, door.port, is_inside))
        await asyncio.wait_for(servable.wait_inside(1), WAIT_SECONDS)
        is_inside.put(None)
        assert "CANCELLED" in str((await asking).error)
        await asyncio.wait_for(servable.wait_inside(0), WAIT_SECONDS)
        await asyncio.wait_for(rig.serving("half_plus_two", 3).wait_idle(), WAIT_SECONDS)
    assert servable.cancelled == 1


async def test_deadline_of_a_stream_ends_it(rig: Rig, channel: aio.Channel) -> None:
    """Triton's client calls it stream_timeout."""
    servable = servable_of(rig)
    servable.hold()
    call = stub(channel).ModelStreamInfer(timeout=0.2)
    await call.write(packed(1))
    code, _ = await end_of(call)
    assert code == "DEADLINE_EXCEEDED"
    await asyncio.wait_for(servable.wait_inside(0), WAIT_SECONDS)


async def test_message_over_the_bound_ends_its_stream() -> None:
    """What is too large cannot be told from what comes after it."""
    rig = ready_rig(replace(OPTIONS, max_message_bytes=10_000))
    rig.serve("half_plus_two", 3)
    async with rig.open() as channel:
        call = stub(channel).ModelStreamInfer()
        await call.write(packed(*range(5000)))
        code, _ = await end_of(call)
        assert code == "RESOURCE_EXHAUSTED"
        call = stub(channel).ModelStreamInfer()
        await call.write(packed(1))
        assert (await next_of(call)).error_message == ""
        call.cancel()


async def test_closing_the_door_answers_what_was_read_and_ends_streams() -> None:
    """A client may hold a stream for ever; it learns that this one is over, and loses no answer."""
    rig = ready_rig(replace(OPTIONS, drain_seconds=3600))
    servable = rig.serve("half_plus_two", 3)
    servable.hold()
    door = rig.door()
    await door.__aenter__()
    async with (
        aio.insecure_channel(f"127.0.0.1:{door.port}") as channel,
        asyncio.TaskGroup() as tasks,
    ):
        busy, idle = stub(channel).ModelStreamInfer(), stub(channel).ModelStreamInfer()
        await busy.write(packed(1))
        await idle.write(packed(2))
        await asyncio.wait_for(servable.wait_inside(2), WAIT_SECONDS)
        closing = tasks.create_task(door.__aexit__(None, None, None))
        # Long enough for a door that does not wait to be closed.
        await asyncio.wait({closing}, timeout=0.3)
        assert not closing.done()
        await servable.release()
        for call in (busy, idle):
            assert (await next_of(call)).error_message == ""
            assert await end_of(call) == (
                "UNAVAILABLE",
                "the node is stopping: open a stream to another one",
            )
        await asyncio.wait_for(closing, WAIT_SECONDS)


async def test_closing_the_door_ends_a_stream_that_asks_nothing() -> None:
    """Nothing is waited for where nothing is under way."""
    rig = ready_rig(replace(OPTIONS, drain_seconds=3600))
    rig.serve("half_plus_two", 3)
    door = rig.door()
    await door.__aenter__()
    async with aio.insecure_channel(f"127.0.0.1:{door.port}") as channel:
        call = stub(channel).ModelStreamInfer()
        await call.write(packed(1))
        assert (await next_of(call)).error_message == ""
        await asyncio.wait_for(door.__aexit__(None, None, None), WAIT_SECONDS)
        assert (await end_of(call))[0] == "UNAVAILABLE"
