"""The workers of one version: seats that are manned, and manned anew when a worker dies.

Owns the processes and the rule for when a version is beyond repair. What calls they get is the
dispatcher's business.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from headrace.consumer.core.backoff import backoff
from headrace.consumer.core.calls import Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import LoadCrashed, LoadError
from headrace.consumer.core.ids import ServableId
from headrace.consumer.workers.deaths import Deaths
from headrace.consumer.workers.dispatch import Dispatcher
from headrace.consumer.workers.lane import Lane
from headrace.consumer.workers.link import Link
from headrace.consumer.workers.options import WorkerOptions
from headrace.consumer.workers.queue import CallQueue
from headrace.consumer.workers.recruiter import Recruiter, StartWorker
from headrace.consumer.workers.seat import Seat, State
from headrace.schemas.records import Batching

log = structlog.get_logger()

_MAX_DEATHS_OF_A_CALL: Final = 2
_FIRST_PAUSE_SECONDS: Final = 1.0
_MAX_PAUSE_SECONDS: Final = 30.0


class Crew:
    """The workers of one version.

    While one of them is there the version serves, and those that cannot start are tried again
    after a pause. Only a crew without any worker can be beyond repair.

    **Concurrency:** event loop only.
    """

    def __init__(
        self,
        servable: ServableId,
        start: StartWorker,
        queue: CallQueue,
        batching: Batching,
        options: WorkerOptions,
    ) -> None:
        self._name = f"worker of {servable}"
        self._log = log.bind(model=servable.model, version=servable.version)
        self._recruiter = Recruiter(start, batching, options.load_timeout_seconds)
        self.dispatcher = Dispatcher(queue, batching, options, self._may_test)
        self._deaths = Deaths(options.max_deaths, options.deaths_window_seconds)
        self._loop = asyncio.get_running_loop()
        self._seats: list[Seat] = []
        self._tasks: asyncio.TaskGroup | None = None
        self._is_dismissed = False
        self._broken: asyncio.Future[LoadError] = self._loop.create_future()

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers; a seat without one has that of its last."""
        return [seat.lane.link.process.pid for seat in self._seats if seat.lane is not None]

    def join(self, link: Link) -> None:
        """Take in a worker that has loaded."""
        seat = self._add()
        self._attach(seat, link)

    def rescale(self, replicas: int) -> None:
        """Have so many workers from now on; those too many finish what they have."""
        staying = [seat for seat in self._seats if not seat.is_leaving]
        for _ in range(replicas - len(staying)):
            self._add()
        staying.sort(key=lambda seat: seat.state is not State.AT_WORK)
        for seat in staying[replicas:]:
            self._leave(seat)

    def rebatch(self, batching: Batching) -> None:
        """Batch by these rules from the next frame on."""
        self._recruiter.batching = batching
        self.dispatcher.rebatch(batching)

    async def live(self, tasks: asyncio.TaskGroup) -> LoadError:
        """Keep every seat manned, in tasks of this group; return why no worker will come any more.

        Cancellation: the seats live on; `dismiss` ends them.
        """
        self._tasks = tasks
        for seat in self._seats:
            self._begin(seat)
        return await self._broken

    def dismiss(self) -> None:
        """Kill every worker now, and start no other."""
        self._is_dismissed = True
        for seat in self._seats:
            if seat.lane is not None:
                seat.lane.link.kill()
            if seat.task is not None:
                seat.task.cancel()

    async def wait_exit(self) -> None:
        """Return when every worker is gone; they are killed if they are not."""
        links = [seat.lane.link for seat in self._seats if seat.lane is not None]
        await asyncio.gather(*(link.wait_exit() for link in links))

    def _add(self) -> Seat:
        seat = Seat()
        self._seats.append(seat)
        self._begin(seat)
        return seat

    def _begin(self, seat: Seat) -> None:
        if self._tasks is not None:
            seat.task = self._tasks.create_task(self._man(seat), name=self._name)
            # A callback and not a `finally`: a task cancelled early never runs at all.
            seat.task.add_done_callback(lambda _task: self._forget(seat))

    def _forget(self, seat: Seat) -> None:
        # Those of a crew that was dismissed are kept: somebody waits for their workers' exit.
        if not self._is_dismissed:
            self._seats.remove(seat)

    def _leave(self, seat: Seat) -> None:
        seat.is_leaving = True
        if seat.lane is not None and seat.state is State.AT_WORK:
            self.dispatcher.retire(seat.lane)
        elif seat.task is None:
            self._seats.remove(seat)
        elif seat.state is not State.DYING:
            seat.task.cancel()

    async def _man(self, seat: Seat) -> None:
        """Have a worker in this seat until it is to be left, or the version is beyond repair.

        Cancellation: the worker is killed and gone.
        """
        words = ""
        try:
            while not seat.is_leaving:
                if seat.state is not State.AT_WORK and not await self._fill(seat, words):
                    return
                await seat.lost.wait()
                if seat.lane is not None:
                    words = await self._bury(seat, seat.lane)
        finally:
            if seat.lane is not None:
                await seat.lane.link.wait_exit()

    async def _bury(self, seat: Seat, lane: Lane) -> str:
        """See to what a worker that died leaves behind; return the words for its end."""
        seat.state = State.DYING
        if not seat.is_leaving:
            self._count_death(lane)
        orphans = self.dispatcher.detach(lane)
        # At once: whoever closes the version while we wait is to find them.
        self.dispatcher.suspect(orphans)
        words = await lane.link.wait_exit()
        if orphans or not seat.is_leaving:
            pid = lane.link.process.pid
            self._log.warning("worker.died", pid=pid, reason=words, unanswered=len(orphans))
        killed = Fault(Code.UNAVAILABLE, message=f"worker died: {words}")
        for ticket, place in ((share.ticket, share.first) for share in orphans):
            ticket.deaths[place] = ticket.deaths.get(place, 0) + 1
            if ticket.deaths[place] >= _MAX_DEATHS_OF_A_CALL:
                ticket.settle(place, b"", killed)
        seat.state = State.COMING
        self.dispatcher.pump()
        return words

    def _count_death(self, lane: Lane) -> None:
        answered, self.dispatcher.has_answered = self.dispatcher.has_answered, False
        if lane.is_testing:
            self._deaths.count_test(has_answered=answered)
        else:
            self._deaths.count(lane.since, self._loop.time(), has_answered=answered)

    async def _fill(self, seat: Seat, words: str) -> bool:
        """Have a worker started for a seat; return whether there is one."""
        pauses, began = backoff(_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS), self._loop.time()
        is_first = seat.lane is None
        while True:
            verdict = self._deaths.verdict(self._loop.time())
            if verdict is not None:
                failure = LoadCrashed(f"{verdict}, last: {words}")
                if not self._has_workers():
                    return self._give_up(failure)
                await self._pause(seat, next(pauses), failure)
            try:
                link = await self._recruiter.hire(self._has_workers)
            except LoadError as error:
                words = str(error)
                if self._has_workers():
                    await self._pause(seat, next(pauses), error)
                elif isinstance(error, LoadCrashed):
                    self._deaths.count_start(self._loop.time())
                else:
                    return self._give_up(error)
            else:
                self._attach(seat, link)
                pid, took_seconds = link.process.pid, round(self._loop.time() - began, 3)
                if is_first:
                    self._log.info("worker.joined", pid=pid, duration_seconds=took_seconds)
                else:
                    self._log.info("worker.replaced", pid=pid, duration_seconds=took_seconds)
                return True

    def _has_workers(self) -> bool:
        return self.dispatcher.workers > 0

    def _attach(self, seat: Seat, link: Link) -> None:
        seat.lost.clear()
        link.on_end = seat.lost.set
        if link.is_lost:
            seat.lost.set()
        seat.state = State.AT_WORK
        seat.lane = self.dispatcher.attach(link)

    async def _pause(self, seat: Seat, seconds: float, failure: LoadError) -> None:
        """Let some time pass before the next start: the version has other workers."""
        self._log.warning("worker.delayed", error=str(failure), delay_seconds=round(seconds, 2))
        seat.state = State.PAUSED
        self.dispatcher.pump()
        await asyncio.sleep(seconds)
        seat.state = State.COMING

    def _give_up(self, error: LoadError) -> bool:
        if not self._broken.done():
            self._broken.set_result(error)
        return False

    def _may_test(self) -> bool:
        """Whether a worker may be risked for a suspect.

        Not the last one when another will soon be there, and not before the calls that a dead one
        had are judged.
        """
        states = [seat.state for seat in self._seats]
        return State.DYING not in states and (
            self.dispatcher.workers > 1 or State.COMING not in states
        )
