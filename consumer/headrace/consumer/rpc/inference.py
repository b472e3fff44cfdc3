"""The way of a call through the gRPC door, the same for every method that asks a version."""

from __future__ import annotations

import time
from typing import Final, cast

from headrace.consumer.core.calls import Calls, Encoding, Fault
from headrace.consumer.core.choice import Handle
from headrace.consumer.core.errors import ServableNotReady
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
        with self.acquire(route, context) as choice:
            calls = Calls(encoding, (payload,), (self.deadline_seconds(context, timeout_seconds),))
            answers = await choice.infer(calls)
        return answers.faults.get(0) or answers.payloads[0]

    def acquire(self, route: Route, context: Context) -> Handle:
        """Return a loan of the version that `route` means; the call will say where it came from.

        Raises:
            RequestError: the node is not ready, or the request cannot be routed.
        """
        if not self._readiness.is_ready:
            phase = self._readiness.phase.name.lower()
            raise ServableNotReady(f"the node is not ready: it is {phase}")
        handle = self._serving_map.acquire(route, affinity_of(context))
        context.set_trailing_metadata(self._provenance.of(handle.choice))
        return handle

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


def affinity_of(context: Context) -> bytes | None:
    """Return the bytes that keep a caller on one arm of a traffic split, when it sent any."""
    for key, value in context.invocation_metadata() or ():
        if key == AFFINITY_KEY:
            return value.encode() if isinstance(value, str) else value
    return None
