"""One version as the node holds it: a queue, a worker process, and a replacement when it dies."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final, Protocol

import structlog

from headrace.consumer.core.calls import Answers, Calls, Fault, refused
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import LoadCrashed, LoadError
from headrace.consumer.core.ids import ServableId
from headrace.consumer.workers.dispatch import Dispatcher
from headrace.consumer.workers.link import Link
from headrace.consumer.workers.options import WorkerOptions
from headrace.consumer.workers.queue import EXPIRED, CallQueue, Ticket
from headrace.consumer.workers.start import LoadedWorker
from headrace.schemas.records import Batching

log = structlog.get_logger()

_MAX_DEATHS_OF_A_CALL: Final = 2
# When so many suspects have been tested and each ended its worker, it is not the requests.
_MAX_TESTS_IN_VAIN: Final = 8


class StartWorker(Protocol):
    """What makes a worker that has loaded the version."""

    async def __call__(self, batching: Batching) -> LoadedWorker:
        """Return it, loaded.

        Raises:
            LoadError: the version cannot be loaded.

        Cancellation: no worker is left behind.
        """
        ...


class WorkerServable:
    """A loaded version whose model runs in a process of its own.

    `live` watches the process and replaces it; it is to run in a task for as long as the servable
    is in use.

    **Concurrency:** event loop only.
    """

    def __init__(
        self,
        servable: ServableId,
        worker: LoadedWorker,
        start: StartWorker,
        batching: Batching,
        options: WorkerOptions,
    ) -> None:
        self._id = servable
        self._log = log.bind(model=servable.model, version=servable.version)
        self._link = worker.link
        self.signature_def = worker.loaded.signature_def
        self._start = start
        self._batching = batching
        self._options = options
        self._queue = CallQueue(options.max_queue_calls, options.max_queue_bytes)
        self._dispatcher = Dispatcher(self._queue, batching, options)
        self._loop = asyncio.get_running_loop()
        self._lost = asyncio.Event()
        self._deaths: deque[float] = deque(maxlen=options.max_deaths)
        self._tests_in_vain = 0.0
        self._broken: asyncio.Future[LoadError] = self._loop.create_future()
        # Why calls are refused; None while they are taken.
        self._closed: Fault | None = None
        self._life: asyncio.Task[None] | None = None
        self._attach(self._link)

    def begin(self, tasks: asyncio.TaskGroup) -> asyncio.Task[None]:
        """Live in a task of this group, and return the task."""
        self._life = tasks.create_task(self.live(), name=f"worker of {self._id}")
        return self._life

    @property
    def pid(self) -> int:
        """The process id of the present worker, or of the last one."""
        return self._link.process.pid

    async def infer(self, calls: Calls, *, may_wait: bool = False) -> Answers:
        """Return one answer per call; see `core.servable.Servable.infer`."""
        count = len(calls.payloads)
        if self._closed is not None:
            return refused(self._closed, count)
        if not count:
            return Answers([], {})
        ticket = Ticket(calls)
        timer = self._expire_at(ticket)
        try:
            if may_wait:
                await self._wait_room(ticket)
            if ticket.left:
                self._queue.put(ticket)
                self._dispatcher.pump()
                await ticket.done
        finally:
            if timer is not None:
                timer.cancel()
            if ticket.left:
                self._settle([ticket], EXPIRED)
        return ticket.answers()

    async def wait_broken(self) -> Exception:
        """Return the reason when no worker will come any more; see `core.servable`."""
        return await asyncio.shield(self._broken)

    def rebatch(self, batching: Batching) -> None:
        """Batch by these rules from the next frame on."""
        self._batching = batching
        self._dispatcher.rebatch(batching)

    async def unload(self) -> None:
        """End the worker; see `core.servable.Servable.unload`."""
        self.close(f"{self._id} was unloaded")
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait([self._life])
        await self._link.wait_exit()

    def close(self, message: str) -> None:
        """Answer all calls inside with UNAVAILABLE, now and from now on, and kill the worker."""
        if self._closed is None:
            self._closed = Fault(Code.UNAVAILABLE, message=message)
        orphans = [share.ticket for share in self._dispatcher.detach()]
        self._settle([*orphans, *self._dispatcher.drain()], self._closed)
        self._queue.wake()
        self._link.kill()

    async def live(self) -> None:
        """Replace the worker whenever it dies, until it has died too often.

        Cancellation: the worker is killed and gone; calls inside are answered UNAVAILABLE.
        """
        try:
            while await self._replace(await self._next_death()):
                pass
        finally:
            self.close(f"{self._id} was unloaded")
            await self._link.wait_exit()

    async def _next_death(self) -> str:
        """Return the words for the worker's end when it has come."""
        await self._lost.wait()
        self._count_death()
        orphans = self._dispatcher.detach()
        # At once: whoever closes the version while we wait is to find them.
        self._dispatcher.suspect(orphans)
        words = await self._link.wait_exit()
        self._log.warning("worker.died", pid=self.pid, reason=words, unanswered=len(orphans))
        killed = Fault(Code.UNAVAILABLE, message=f"worker died: {words}")
        for ticket, place in ((share.ticket, share.first) for share in orphans):
            ticket.deaths[place] = ticket.deaths.get(place, 0) + 1
            if ticket.deaths[place] >= _MAX_DEATHS_OF_A_CALL:
                ticket.settle(place, b"", killed)
        return words

    async def _replace(self, words: str) -> bool:
        """Start the next worker; return whether there is one."""
        began = self._loop.time()
        while (verdict := self._verdict()) is None:
            try:
                worker = await self._start(self._batching)
            except LoadCrashed as error:
                words = str(error)
                self._deaths.append(self._loop.time())
                continue
            except LoadError as error:
                self._break(error)
                return False
            self._attach(worker.link)
            took_seconds = round(self._loop.time() - began, 3)
            self._log.info("worker.replaced", pid=self.pid, duration_seconds=took_seconds)
            return True
        self._break(LoadCrashed(f"{verdict}, last: {words}"))
        return False

    def _count_death(self) -> None:
        """Count a death against the version, unless it answers requests.

        What kills a worker that answers others is most likely a request, and requests have their
        own bound of deaths. Only suspects that die one after the other tell of the version.
        """
        has_answered = self._dispatcher.has_answered
        if has_answered:
            self._deaths.clear()
        if self._dispatcher.is_testing:
            self._tests_in_vain += float("-inf") if has_answered else 1
            return
        self._tests_in_vain = 0.0
        if not has_answered:
            self._deaths.append(self._loop.time())

    def _verdict(self) -> str | None:
        """Return why no worker is started any more; None while one is."""
        most, window = self._options.max_deaths, self._options.deaths_window_seconds
        if self._tests_in_vain >= _MAX_TESTS_IN_VAIN:
            return f"the worker died of {_MAX_TESTS_IN_VAIN} requests, one after the other"
        if len(self._deaths) == most and self._loop.time() - self._deaths[0] <= window:
            return f"the worker died {most} times within {window:g} s"
        return None

    def _attach(self, link: Link) -> None:
        self._link = link
        self._lost.clear()
        link.on_end = self._lost.set
        if link.is_lost:
            self._lost.set()
        self._dispatcher.attach(link)

    def _break(self, error: LoadError) -> None:
        self.close(str(error))
        self._broken.set_result(error)

    async def _wait_room(self, ticket: Ticket) -> None:
        """Return when a ticket may be queued, or is answered already."""
        while ticket.left and not self._queue.has_room(ticket):
            await self._queue.wait_room()
            if self._closed is not None:
                ticket.settle_rest(self._closed)

    def _expire_at(self, ticket: Ticket) -> asyncio.TimerHandle | None:
        if ticket.latest_seconds == float("inf"):
            return None
        return self._loop.call_at(ticket.latest_seconds, self._expire, ticket)

    def _expire(self, ticket: Ticket) -> None:
        """Answer calls that have not been sent; soon after, those that have."""
        if not ticket.is_sent:
            self._settle([ticket], EXPIRED)
        elif ticket.left:
            self._loop.call_later(
                self._options.answer_grace_seconds, self._settle, [ticket], EXPIRED
            )

    def _settle(self, tickets: Iterable[Ticket], fault: Fault) -> None:
        for ticket in tickets:
            self._queue.withdraw(ticket)
            ticket.settle_rest(fault)
