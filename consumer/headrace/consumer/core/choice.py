"""The versions that answer now, the loans on them, and why a request came to one of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from enum import StrEnum
from types import TracebackType
from typing import Any, Protocol

from headrace.consumer.core.calls import Answers, Calls
from headrace.consumer.core.ids import ServableId
from headrace.consumer.core.plan import PlannedVersion
from headrace.consumer.core.servable import Servable
from headrace.schemas.records import Shadow


class Serving:
    """One AVAILABLE version: its servable, where it came from, and who has borrowed it.

    **Concurrency:** event loop only.
    """

    def __init__(self, planned: PlannedVersion, servable: Servable) -> None:
        self.id = ServableId(planned.record.model, planned.record.version)
        self.planned = planned
        self.servable = servable
        self._loans = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    def borrow(self) -> None:
        """Count one more loan."""
        if not self._loans:
            self._is_idle.clear()
        self._loans += 1

    def give_back(self) -> None:
        """Count one loan less."""
        self._loans -= 1
        if not self._loans:
            self._is_idle.set()

    async def wait_idle(self) -> None:
        """Return when no loan is out."""
        await self._is_idle.wait()


class Reason(StrEnum):
    """What led a request to its version.

    STANDBY: an arm of the split whose own turn it was not, because the arm whose turn it was
    serves nothing.
    """

    VERSION = "version"
    LABEL = "label"
    SPLIT = "split"
    STANDBY = "standby"
    LATEST = "latest"


class Mirror(Protocol):
    """Sends requests to a second version, behind the caller's back.

    **Concurrency:** event loop only.
    """

    def offer(self, choice: Choice, calls: Calls, answers: Answers, seconds: float) -> None:
        """Take over what was asked and answered, or leave it. Returns at once, never raises."""
        ...


class Mirrored:
    """Whose requests are mirrored, to what, and by whom."""

    __slots__ = ("mirror", "model", "shadow")

    def __init__(self, model: str, shadow: Shadow, mirror: Mirror) -> None:
        self.model = model
        self.shadow = shadow
        self.mirror = mirror


class Choice:
    """What a request was routed to, and why.

    One object for all requests that were routed alike, until anything changes on the node: what
    doors say of an answer's origin is worked out once for each.

    Attributes:
        serving: the version.
        reason: what led there.
        arm: the arm of the split that led there, or arms joined by `/`, or empty.
        plan_offset: the control record as of which the request was routed.
        mirrored: what becomes of the requests besides, or None.
    """

    __slots__ = ("__weakref__", "arm", "mirrored", "plan_offset", "reason", "serving")

    def __init__(
        self,
        serving: Serving,
        reason: Reason = Reason.VERSION,
        arm: str = "",
        plan_offset: int = -1,
        mirrored: Mirrored | None = None,
    ) -> None:
        self.serving = serving
        self.reason = reason
        self.arm = arm
        self.plan_offset = plan_offset
        self.mirrored = mirrored

    @property
    def id(self) -> ServableId:
        """The version's model and number."""
        return self.serving.id

    @property
    def planned(self) -> PlannedVersion:
        """What the log says of the version."""
        return self.serving.planned

    @property
    def servable(self) -> Servable:
        """The version's servable, for all but inference."""
        return self.serving.servable

    def infer(self, calls: Calls, *, may_wait: bool = False) -> Coroutine[Any, Any, Answers]:
        """Ask the version; see `Servable.infer`."""
        answering = self.serving.servable.infer(calls, may_wait=may_wait)
        return answering if self.mirrored is None else self._mirror(calls, answering)

    async def _mirror(self, calls: Calls, answering: Coroutine[Any, Any, Answers]) -> Answers:
        begun_at = time.monotonic()
        answers = await answering
        if self.mirrored is not None:
            self.mirrored.mirror.offer(self, calls, answers, time.monotonic() - begun_at)
        return answers


class Handle:
    """A counted loan of one version, given back on leaving the `with` block.

    **Concurrency:** event loop only; use it once.
    """

    __slots__ = ("choice",)

    def __init__(self, choice: Choice) -> None:
        self.choice = choice

    def __enter__(self) -> Choice:
        self.choice.serving.borrow()
        return self.choice

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.choice.serving.give_back()
