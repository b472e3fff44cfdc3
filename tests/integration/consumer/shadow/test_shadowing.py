"""The mirror: whom it asks and when, what it leaves out, and that nobody waits for it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.consumer.core.calls import Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import QueueFull
from headrace.consumer.shadow.comparer import Comparer, ComparisonFailed
from headrace.consumer.shadow.lane import LaneOptions
from headrace.consumer.shadow.results import Results
from headrace.publisher.connection import KafkaConnection
from headrace.schemas.comparison import Agreement
from headrace.schemas.records import Route
from tests.integration.consumer.shadow.jobs import agreeing
from tests.integration.consumer.shadow.rig import stage

pytestmark = pytest.mark.timeout(120)
M1 = Route("m", 1)


async def test_both_origins_and_latencies_are_published(
    bootstrap_servers: str, unique_name: str
) -> None:
    """One comparison a request; the version that was asked has got exactly the same bytes."""
    async with stage(bootstrap_servers, unique_name) as on:
        first, second = on.serve("m", 1), on.serve("m", 2)
        on.mirror("m", "2")
        await on.ask(M1, 3)
        found = await on.comparisons(3)
        assert second.calls == first.calls
        for record in found:
            assert (record.model, record.node, record.missed) == ("m", "here", 0)
            assert (record.primary.version, record.shadow.version) == (1, 2)
            assert (record.primary.control_offset, record.shadow.control_offset) == (1, 2)
            assert record.shadow.digest == second.planned.record.digest
            assert record.agreement is Agreement.AGREES
            assert record.shadow.latency_micros > 0


async def test_the_caller_never_waits_for_the_shadow(
    bootstrap_servers: str, unique_name: str
) -> None:
    """Answers come while the shadow has not begun to answer; its deadline is its own."""
    async with stage(bootstrap_servers, unique_name, timeout_seconds=0.2) as on:
        on.serve("m", 1)
        on.serve("m", 2).hold()
        on.mirror("m", "2")
        for _ in range(20):
            assert not (await on.ask(M1)).faults
        (record,) = await on.comparisons(1)
        assert (record.agreement, record.shadow.error_code) == (
            Agreement.FAILED,
            "DEADLINE_EXCEEDED",
        )


async def test_one_that_hangs_does_not_hold_up_the_shadows_of_others(
    bootstrap_servers: str, unique_name: str
) -> None:
    """Each name has its own queue, whose bound holds: the rest is missed."""
    lane = LaneOptions(max_calls=4)
    async with stage(bootstrap_servers, unique_name, lane=lane) as on:
        for name in ("m", "n"):
            on.serve(name, 1)
            on.mirror(name, "2")
        held, _ = on.serve("m", 2), on.serve("n", 2)
        held.hold()
        await on.ask(M1)
        await held.wait_inside(1)
        await on.ask(M1, 7)
        await on.ask(Route("n", 1))
        (record,) = await on.comparisons(1)
        assert record.model == "n"
        await held.release()
        found = await on.comparisons(5)
        assert sum(record.missed for record in found) == 3


@pytest.mark.parametrize("busy", [1, 2])
async def test_nothing_is_mirrored_while_calls_wait(
    bootstrap_servers: str, unique_name: str, busy: int
) -> None:
    """For the version that answers or for the one that would be asked; afterwards it goes on."""
    async with stage(bootstrap_servers, unique_name) as on:
        versions = {n: on.serve("m", n) for n in (1, 2, 3)}
        on.mirror("m", "2")
        versions[busy].is_busy = True
        await on.ask(M1)
        on.serve("n", 1)
        on.serve("n", 2)
        on.mirror("n", "2")
        await on.ask(Route("n", 1))
        (record,) = await on.comparisons(1)
        assert record.model == "n"
        assert not versions[2].calls
        versions[busy].is_busy = False
        (record,) = await on.comparisons(1)
        assert record.model == "m"


async def test_a_version_is_not_its_own_shadow(bootstrap_servers: str, unique_name: str) -> None:
    """Requests that the target answers itself are left alone, and count nowhere."""
    async with stage(bootstrap_servers, unique_name) as on:
        on.serve("m", 1)
        second = on.serve("m", 2)
        on.mirror("m", "2")
        await on.ask(Route("m", 2), 5)
        await on.ask(M1)
        (record,) = await on.comparisons(1)
        assert (record.primary.version, record.missed) == (1, 0)
        assert len(second.calls) == 6


async def test_a_shadow_of_the_shadow_is_not_asked(
    bootstrap_servers: str, unique_name: str
) -> None:
    """Two models that mirror to each other do not go on for ever."""
    async with stage(bootstrap_servers, unique_name) as on:
        first, second = on.serve("m", 1), on.serve("n", 1)
        on.mirror("m", "n")
        on.mirror("n", "m")
        await on.ask(M1)
        (record,) = await on.comparisons(1)
        assert (record.model, record.shadow.model) == ("m", "n")
        await on.ask(Route("n"))
        (record,) = await on.comparisons(1)
        assert (record.model, record.shadow.model) == ("n", "m")
        assert (len(first.calls), len(second.calls)) == (2, 2)


@pytest.mark.parametrize(
    ("target", "code", "words"),
    [
        ("nobody", "NOT_FOUND", "Servable not found"),
        ("7", "NOT_FOUND", "Specific"),
        ("m@nope", "INVALID_ARGUMENT", "label"),
        ("a b", "FAILED_PRECONDITION", "neither a label nor a version"),
    ],
)
async def test_without_a_target_one_failure_is_told_and_the_rest_counted(
    bootstrap_servers: str, unique_name: str, target: str, code: str, words: str
) -> None:
    """By name and reason, and not for every request."""
    async with stage(bootstrap_servers, unique_name) as on:
        on.serve("m", 1)
        on.mirror("m", target)
        for _ in range(10):
            assert not (await on.ask(M1, 10)).faults
        (record,) = await on.comparisons(1)
        assert record.agreement is Agreement.FAILED
        assert (record.shadow.model, record.shadow.version) == (target, 0)
        assert record.shadow.error_code == code
        assert words in record.shadow.error
        on.serve("m", 2)
        on.mirror("m", "2")
        await on.ask(M1)
        (after,) = await on.comparisons(1)
        assert after.agreement is Agreement.AGREES
        assert record.missed + after.missed == 99


async def test_a_shadow_that_raises_refuses_or_errs_is_a_failure_of_its_own(
    bootstrap_servers: str, unique_name: str
) -> None:
    """A full queue and a fault are compared; a defect ends nothing."""
    async with stage(bootstrap_servers, unique_name) as on:
        on.serve("m", 1)
        second = on.serve("m", 2)
        on.mirror("m", "2")
        second.raise_all(QueueFull("no room"))
        await on.ask(M1)
        (record,) = await on.comparisons(1)
        assert record.shadow.error_code == "RESOURCE_EXHAUSTED"
        second.raise_all(RuntimeError("a defect"))
        assert not (await on.ask(M1)).faults
        on.serve("n", 1)
        on.serve("n", 2)
        on.mirror("n", "2")
        await on.ask(Route("n", 1))
        (record,) = await on.comparisons(1)
        assert record.model == "n", "asked later, so the defect has been met"
        on.serve("m", 2).answer_all(Fault(Code.INTERNAL, "it broke"))
        await on.ask(M1)
        (record,) = await on.comparisons(1)
        assert (record.agreement, record.shadow.error) == (Agreement.FAILED, "it broke")


async def test_leaving_drops_what_waits_and_ends_the_process(
    bootstrap_servers: str, unique_name: str
) -> None:
    """With a full queue, a shadow that never answers and a process that compares."""
    async with stage(bootstrap_servers, unique_name, timeout_seconds=1e6) as on:
        on.serve("m", 1)
        second = on.serve("m", 2)
        on.mirror("m", "2")
        await on.ask(M1)
        await on.comparisons(1)
        second.hold()
        await on.ask(M1, 1000)
        await second.wait_inside(1000)
        for _ in range(10):
            await on.ask(M1, 1000)
    assert second.cancelled == 1000
    assert not (await on.ask(M1)).faults


async def test_a_broker_that_is_away_holds_nothing_up(unique_name: str) -> None:
    """Nobody listens at the address; requests are mirrored, and leaving is possible."""
    results = Results(KafkaConnection("127.0.0.1:9", connect_timeout_seconds=0.5), unique_name)
    for _ in range(20_000):
        results.put(b"m", b"record")
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(results.send_always())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await results.flush()
        sending.cancel()


async def test_comparing_goes_on_in_a_fresh_process_when_it_is_killed() -> None:
    """The job under way fails in words; the next is done."""
    comparer = Comparer()
    try:
        assert len(await comparer.compare(agreeing(2))) == 2
        pid = comparer.pid
        assert pid is not None
        assert os.getpriority(os.PRIO_PROCESS, pid) == 19
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ComparisonFailed, match="did not answer"):
            await comparer.compare(agreeing(1))
        assert len(await comparer.compare(agreeing(3))) == 3
        assert comparer.pid != pid
    finally:
        await comparer.close()


async def test_a_process_that_does_not_answer_is_ended() -> None:
    """A job is bounded in time; here not even the start of the process fits."""
    comparer = Comparer(timeout_seconds=0.01)
    with pytest.raises(ComparisonFailed, match="TimeoutError"):
        await comparer.compare(agreeing(1))
    assert comparer.pid is None


async def test_jobs_of_many_megabytes_pass() -> None:
    """Far larger than the buffers of a pipe, both ways."""
    comparer = Comparer()
    try:
        assert len(await comparer.compare(agreeing(20_000, padding=1000))) == 20_000
    finally:
        await comparer.close()


OWNER = """
import asyncio, sys
from headrace.consumer.shadow.comparer import Comparer
from tests.integration.consumer.shadow.jobs import agreeing

async def main():
    comparer = Comparer()
    await comparer.compare(agreeing(1))
    print(f"PID {comparer.pid}", flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


async def test_the_process_ends_with_the_node_whatever_ends_that() -> None:
    """Its standard input ends with a node that is killed, too."""
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, stdout=subprocess.PIPE, cwd=Path(__file__).parents[4]
    )
    assert owner.stdout
    try:
        async with asyncio.timeout(30):
            while not (line := await owner.stdout.readline()).startswith(b"PID "):
                assert line
    finally:
        owner.kill()
        await owner.wait()
    async with asyncio.timeout(10):
        while alive(int(line.split()[1])):
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
