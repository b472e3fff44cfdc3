"""The way to one worker and back: frames out, answers in, and a watch over those that hang."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from headrace.consumer.core.calls import Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.workers import frames
from headrace.consumer.workers.flight import Frame, Share
from headrace.consumer.workers.link import Link
from headrace.consumer.workers.queue import Ticket

_HUNG: Final = "it did not answer by its deadline"


class Lane:
    """A worker's link and the frames that the worker has not answered.

    `on_answers` is called with the lane whenever answers have been handed out. `since` is when the
    worker came, on the event loop's clock.

    **Concurrency:** event loop only.
    """

    __slots__ = (
        "_hang_grace_seconds",
        "_loop",
        "_next_frame",
        "_on_answers",
        "frames",
        "is_leaving",
        "link",
        "since",
    )

    def __init__(
        self, link: Link, hang_grace_seconds: float, on_answers: Callable[[Lane], None]
    ) -> None:
        self.link = link
        self.frames: dict[int, Frame] = {}
        self.is_leaving = False
        self._hang_grace_seconds = hang_grace_seconds
        self._on_answers = on_answers
        self._next_frame = 0
        self._loop = asyncio.get_running_loop()
        self.since = self._loop.time()
        link.on_message = self._receive

    @property
    def is_testing(self) -> bool:
        """Whether the worker has a suspect."""
        return any(frame.is_suspect for frame in self.frames.values())

    def send(self, shares: list[Share]) -> None:
        """Send a frame; one that is too long is answered instead."""
        number, self._next_frame = self._next_frame, self._next_frame + 1
        frame = Frame(shares)
        try:
            self.link.send(frames.Run(number, frame.calls()))
        except frames.FrameError as error:
            for share in shares:
                share.ticket.settle_rest(Fault(Code.RESOURCE_EXHAUSTED, message=str(error)))
            return
        self.frames[number] = frame
        for share in shares:
            share.ticket.is_sent = True
        latest = max(share.latest_seconds for share in shares)
        if latest < float("inf"):
            frame.watchdog = self._loop.call_at(
                latest + self._hang_grace_seconds, self.link.kill, _HUNG
            )

    def recall(self, ticket: Ticket) -> None:
        """Have the worker not run what it has of a ticket and has not begun."""
        for number, frame in self.frames.items():
            if positions := frame.positions_of(ticket):
                self.link.send(frames.Cancel(number, positions))

    def leave(self) -> None:
        """Have the worker end as soon as it has answered what it has."""
        self.is_leaving = True
        if not self.frames:
            self.link.kill()

    def close(self) -> list[Share]:
        """Give up what the worker has; return the calls that it left unanswered."""
        orphans: list[Share] = []
        for frame in self.frames.values():
            frame.stop_watching()
            orphans += frame.unanswered()
        self.frames.clear()
        return orphans

    def _receive(self, message: frames.FromWorker) -> None:
        """Hand out answers; called by the link."""
        if not isinstance(message, frames.Ran) or message.id not in self.frames:
            self.link.kill(f"it broke the protocol: unexpected {type(message).__name__}")
            return
        frame = self.frames[message.id]
        try:
            frame.settle(message)
        except ValueError as error:
            self.link.kill(f"it broke the protocol: {error}")
            return
        if frame.left <= 0:
            frame.stop_watching()
            del self.frames[message.id]
            if self.is_leaving and not self.frames:
                self.link.kill()
        self._on_answers(self)
