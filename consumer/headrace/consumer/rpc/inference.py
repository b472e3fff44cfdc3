"""The way of a call through the gRPC door, the same for every method that asks a version."""

from __future__ import annotations

import time
from typing import Final, NamedTuple, cast

from headrace.consumer.core.calls import Calls, Encoding, Fault
from headrace.consumer.core.choice import Handle
from headrace.consumer.core.errors import PlanNotReached, ServableNotReady
from headrace.consumer.core.freshness import MIN_CONTROL_OFFSET, read_min_offset
from headrace.consumer.core.readiness import Readiness
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.rpc.provenance import Provenance
from headrace.consumer.rpc.statuses import Context
from headrace.schemas.records import Route

AFFINITY_KEY: Final = "affinity"


class Inference:
    """Finds the version that a call asks, and passes payloads on to it.

    **Concurrency:** event loop only; any number of calls at once.
    """

    def __init__(
        self,
        serving_map: ServingMap,
        readiness: Readiness,
        provenance: Provenance,
        default_timeout_seconds: float,
    ) -> None:
        self._serving_map = serving_map
        self._readiness = readiness
        self._provenance = provenance
        self._default_timeout_seconds = default_timeout_seconds
        readiness.observe(lambda _: serving_map.wake())

    async def answer(
        self,
        route: Route,
        encoding: Encoding,
        payload: bytes,
        context: Context,
        timeout_seconds: float | None = None,
    ) -> bytes | Fault:
        """Pass one payload to the version that `route` means, and return its answer.

        Args:
            route: what the request names.
            encoding: of the payload.
            payload: the request.
            context: the call.
            timeout_seconds: bounds the call beside the client's deadline.

        Raises:
            RequestError: the request cannot be routed, or the version's queue is full.

        Cancellation: the client gave up or its deadline passed; a request that has not reached the
        worker is dropped.
        """
        deadline_seconds = self.deadline_seconds(context, timeout_seconds)
        with await self.acquire(route, context, deadline_seconds) as choice:
            calls = Calls(encoding, (payload,), (deadline_seconds,))
            answers = await choice.infer(calls)
        return answers.faults.get(0) or answers.payloads[0]

    async def acquire(
        self, route: Route, context: Context, deadline_seconds: float | None = None
    ) -> Handle:
        """Return a loan of the version that `route` means; the call will say where it came from.

        Waits for the control record that the call asks for, if any, at most until the deadline.
        Enter the handle before anything else is awaited.

        Args:
            route: what the request names.
            context: the call.
            deadline_seconds: when the call ends; None works it out.

        Raises:
            RequestError: the node is not ready, or the request cannot be routed.
        """
        self._check_ready()
        wish = wish_of(context)
        if wish.min_offset is None:
            handle = self._serving_map.acquire(route, wish.affinity)
        else:
            if deadline_seconds is None:
                deadline_seconds = self.deadline_seconds(context)
            handle = await self._acquire_at(wish.min_offset, route, wish.affinity, deadline_seconds)
        context.set_trailing_metadata(self._provenance.of(handle.choice))
        return handle

    async def _acquire_at(
        self, min_offset: int, route: Route, affinity: bytes | None, deadline_seconds: float
    ) -> Handle:
        try:
            return await self._serving_map.acquire_at(
                min_offset,
                route,
                affinity,
                deadline_seconds=deadline_seconds,
                may_wait=lambda: self._readiness.is_ready,
            )
        except PlanNotReached:
            self._check_ready()  # A node that stops does not wait for what others may have.
            raise

    def _check_ready(self) -> None:
        if not self._readiness.is_ready:
            phase = self._readiness.phase.name.lower()
            raise ServableNotReady(f"the node is not ready: it is {phase}")

    def deadline_seconds(self, context: Context, timeout_seconds: float | None = None) -> float:
        """Return when a call ends: the nearest of the client's deadline, a timeout, the default.

        Units: a reading of the system-wide monotonic clock (`time.monotonic()`).
        """
        # Despite its declared type, None when the client set no deadline.
        left = cast("float | None", context.time_remaining())
        nearest = self._default_timeout_seconds
        if left is not None and left < nearest:
            nearest = left
        if timeout_seconds is not None and timeout_seconds < nearest:
            nearest = timeout_seconds
        return time.monotonic() + nearest


class Wish(NamedTuple):
    """What a call's metadata say of its routing.

    `affinity` keeps a caller on one arm of a traffic split; `min_offset` is the control record
    that the call must not be routed before.
    """

    affinity: bytes | None = None
    min_offset: int | None = None


_NO_WISH: Final = Wish()


def wish_of(context: Context) -> Wish:
    """Return what a call wants of its routing; of repeated entries the last one counts.

    Raises:
        InvalidRequest: the control offset is none.
    """
    affinity: bytes | None = None
    min_offset: int | None = None
    for key, value in context.invocation_metadata() or ():
        if key == AFFINITY_KEY:
            affinity = value.encode() if isinstance(value, str) else value
        elif key == MIN_CONTROL_OFFSET:
            min_offset = read_min_offset(value)
    if affinity is None and min_offset is None:
        return _NO_WISH
    return Wish(affinity, min_offset)
