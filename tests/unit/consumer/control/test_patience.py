"""How an absent broker is told, and whose cancellation counts."""

import asyncio

import pytest
from structlog.testing import capture_logs

from headrace.publisher.cancellation import strays_as_errors
from headrace.publisher.clients import KafkaError
from headrace.publisher.outage import Outage


def test_an_outage_is_told_once_per_interval_and_at_its_end() -> None:
    """Many failed attempts make one line, and the end makes another."""
    outage = Outage("door", interval_seconds=60)
    with capture_logs() as logs:
        for _ in range(50):
            outage.went_on("refused")
        outage.ended()
        outage.ended()
        outage.went_on(TimeoutError())
    assert [entry["event"] for entry in logs] == [
        "kafka.unreachable",
        "kafka.reached",
        "kafka.unreachable",
    ]
    assert (logs[0]["user"], logs[0]["reason"]) == ("door", "refused")
    assert logs[2]["reason"] == "TimeoutError()"


async def test_a_cancellation_that_nobody_asked_for_is_an_error() -> None:
    """What a client cancels inside itself does not end our task."""
    inner = asyncio.get_running_loop().create_future()
    inner.cancel()
    with pytest.raises(KafkaError), strays_as_errors():
        await inner


async def test_a_cancellation_that_was_asked_for_passes() -> None:
    """Whoever cancels the task is obeyed."""
    begun = asyncio.Event()

    async def work() -> None:
        with strays_as_errors():
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_timeout_around_it_passes() -> None:
    """A deadline of ours stays a TimeoutError."""

    async def work() -> None:
        async with asyncio.timeout(0):
            with strays_as_errors():
                await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await work()
