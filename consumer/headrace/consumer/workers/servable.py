"""One version as the node holds it: a queue of calls, and the workers that answer them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from headrace.consumer.core.calls import Answers, Calls, Fault, refused
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import LoadError
from headrace.consumer.core.ids import ServableId
from headrace.consumer.workers.crew import Crew
from headrace.consumer.workers.deadlines import Deadlines
from headrace.consumer.workers.options import WorkerOptions
from headrace.consumer.workers.queue import EXPIRED, CallQueue, Ticket
from headrace.consumer.workers.recruiter import StartWorker
from headrace.consumer.workers.start import LoadedWorker
from headrace.schemas.records import Batching


class WorkerServable:
    """A loaded version whose model runs in processes of its own.

    It serves with the worker that it gets; its other `replicas` join as they load. `live` sees to
    that and replaces those that die; it is to run in a task for as long as the servable is in use.

    **Concurrency:** event loop only.
    """

    def __init__(
        self,
        servable: ServableId,
        worker: LoadedWorker,
        start: StartWorker,
        batching: Batching,
        options: WorkerOptions,
        *,
        replicas: int = 1,
    ) -> None:
        self._id = servable
        self.signature_def = worker.loaded.signature_def
        self._options = options
        self._queue = CallQueue(options.max_queue_calls, options.max_queue_bytes)
        self._crew = Crew(servable, start, self._queue, batching, options)
        self._dispatcher = self._crew.dispatcher
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(self._expire)
        self._broken: asyncio.Future[LoadError] = self._loop.create_future()
        # Why calls are refused; None while they are taken.
        self._closed: Fault | None = None
        self._life: asyncio.Task[None] | None = None
        self._crew.join(worker.link)
        self._crew.rescale(replicas)

    def begin(self, tasks: asyncio.TaskGroup) -> asyncio.Task[None]:
        """Live in a task of this group, and return the task."""
        self._life = tasks.create_task(self.live(), name=f"workers of {self._id}")
        return self._life

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers; for one that is being replaced, the last one's."""
        return self._crew.pids

    @property
    def is_busy(self) -> bool:
        """Whether calls wait for a worker; see `core.servable.Servable.is_busy`."""
        return self._queue.calls > 0

    async def infer(self, calls: Calls, *, may_wait: bool = False) -> Answers:
        """Return one answer per call; see `core.servable.Servable.infer`."""
        count = len(calls.payloads)
        if self._closed is not None:
            return refused(self._closed, count)
        if not count:
            return Answers([], {})
        ticket = Ticket(calls, self._loop)
        self._deadlines.watch(ticket)
        try:
            if may_wait:
                await self._wait_room(ticket)
            else:
                self._queue.check_in_time(ticket, self._dispatcher.calls_in_workers)
            if ticket.left:
                self._queue.put(ticket)
                self._dispatcher.pump()
                await ticket.done
        finally:
            self._deadlines.forget(ticket)
            if ticket.left:
                if ticket.is_sent:
                    self._dispatcher.recall(ticket)
                self._settle([ticket], EXPIRED)
        return ticket.answers()

    async def wait_broken(self) -> Exception:
        """Return the reason when no worker will come any more; see `core.servable`."""
        return await asyncio.shield(self._broken)

    def rebatch(self, batching: Batching) -> None:
        """Batch by these rules from the next frame on."""
        self._crew.rebatch(batching)

    def rescale(self, replicas: int) -> None:
        """Have so many workers from now on; see `core.servable.Servable.rescale`."""
        if self._closed is None:
            self._crew.rescale(replicas)

    async def unload(self) -> None:
        """End the workers; see `core.servable.Servable.unload`."""
        self.close(f"{self._id} was unloaded")
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait([self._life])
        await self._crew.wait_exit()

    def close(self, message: str) -> None:
        """Answer all calls inside with UNAVAILABLE, now and from now on, and kill the workers."""
        if self._closed is None:
            self._closed = Fault(Code.UNAVAILABLE, message=message)
        self._settle(self._dispatcher.drain(), self._closed)
        self._queue.wake()
        self._crew.dismiss()

    async def live(self) -> None:
        """Replace workers that die, until the version is beyond repair.

        Cancellation: the workers are killed and gone; calls inside are answered UNAVAILABLE.
        """
        async with asyncio.TaskGroup() as tasks:
            try:
                error = await self._crew.live(tasks)
                self.close(str(error))
                self._broken.set_result(error)
            finally:
                self.close(f"{self._id} was unloaded")

    async def _wait_room(self, ticket: Ticket) -> None:
        """Return when a ticket may be queued, or is answered already."""
        while ticket.left and not self._queue.has_room(ticket):
            await self._queue.wait_room()
            if self._closed is not None:
                ticket.settle_rest(self._closed)

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
