"""The way of a request through the HTTP door, the same for every path that asks a version."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from aiohttp import web

from headrace.consumer.core.calls import Calls, Encoding
from headrace.consumer.core.choice import Choice, Handle
from headrace.consumer.core.errors import (
    InvalidRequest,
    PlanNotReached,
    RequestError,
    ServableNotReady,
)
from headrace.consumer.core.freshness import MIN_CONTROL_OFFSET, read_min_offset
from headrace.consumer.core.readiness import Readiness
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.web.admission import Admission
from headrace.consumer.web.errors import failure, refused
from headrace.consumer.web.provenance import Provenance
from headrace.consumer.web.transfer import Transfer
from headrace.schemas.records import Route

AFFINITY: Final = "affinity"
TIMEOUT: Final = "x-request-timeout-ms"
_MAX_DIGITS: Final = 12


class Exchange(NamedTuple):
    """How an API's bodies become what the worker reads, and its answers bodies.

    `payload` may raise a RequestError.
    """

    encoding: Encoding
    payload: Callable[[web.Request, bytes], bytes]
    response: Callable[[bytes], web.Response]


class Inference:
    """Finds the version that a request asks, and passes its body on without looking inside.

    **Concurrency:** event loop only; any number of requests at once.
    """

    def __init__(
        self,
        serving_map: ServingMap,
        readiness: Readiness,
        provenance: Provenance,
        admission: Admission,
        transfer: Transfer,
        *,
        default_timeout_seconds: float,
    ) -> None:
        self._serving_map = serving_map
        self._readiness = readiness
        self._provenance = provenance
        self._admission = admission
        self._transfer = transfer
        self._default_timeout_seconds = default_timeout_seconds
        readiness.observe(lambda _: serving_map.wake())

    async def answer(
        self, request: web.Request, route: Route, exchange: Exchange
    ) -> web.StreamResponse:
        """Pass the body to the version that `route` means, and its answer back.

        Raises:
            RequestError: the request cannot be routed.
            Refused: its body cannot be had.

        Cancellation: the client hung up; a request that has not reached the worker is dropped.
        """
        deadline_seconds = time.monotonic() + self._timeout_seconds(request)
        with self._admission.enter() as held:
            body = await self._transfer.read(request, held)
            payload = exchange.payload(request, body)
            with await self.acquire(request, route, deadline_seconds) as choice:
                calls = Calls(exchange.encoding, (payload,), (deadline_seconds,))
                response = await self._ask(choice, calls, exchange)
            del body, payload, calls
            held.exchange(response.content_length or 0)
            await self._transfer.write(response, request)
        return response

    async def _ask(self, choice: Choice, calls: Calls, exchange: Exchange) -> web.Response:
        """Return what a version answers to one payload, or why it does not, with provenance."""
        try:
            answers = await choice.infer(calls)
        except RequestError as error:
            response = refused(error)
        else:
            fault = answers.faults.get(0)
            if fault is not None:
                response = failure(fault.code, fault.message)
            else:
                response = exchange.response(answers.payloads[0])
        response.headers.update(self._provenance.of(choice))
        return response

    async def small_body(self, request: web.Request) -> bytes:
        """Return the body of a request that asks no version.

        Raises:
            QueueFull: there is no room for it.
            Refused: the body cannot be had.
        """
        with self._admission.enter() as held:
            return await self._transfer.read(request, held)

    async def acquire(
        self, request: web.Request, route: Route, deadline_seconds: float | None = None
    ) -> Handle:
        """Return a loan of the version that `route` means.

        Waits for the control record that the request asks for, if any, at most until the deadline.
        Enter the handle before anything else is awaited.

        Args:
            request: the request.
            route: what it names.
            deadline_seconds: when the answer is due; None is from now on as long as it may take.

        Raises:
            RequestError: the node is not ready, or the request cannot be routed.
        """
        self.check_ready()
        affinity = request.headers.get(AFFINITY)
        encoded = None if affinity is None else affinity.encode(errors="surrogateescape")
        least = request.headers.get(MIN_CONTROL_OFFSET)
        if least is None:
            return self._serving_map.acquire(route, encoded)
        min_offset = read_min_offset(least)
        if deadline_seconds is None:
            deadline_seconds = time.monotonic() + self._timeout_seconds(request)
        try:
            return await self._serving_map.acquire_at(
                min_offset,
                route,
                encoded,
                deadline_seconds=deadline_seconds,
                may_wait=lambda: self._readiness.is_ready,
            )
        except PlanNotReached:
            self.check_ready()  # A node that stops does not wait for what others may have.
            raise

    def described(self, choice: Choice, body: object) -> web.Response:
        """Return an answer about a version in JSON, which says where it comes from."""
        return web.json_response(body, headers=self._provenance.of(choice))

    def check_ready(self) -> None:
        """Return when requests are welcome.

        Raises:
            ServableNotReady: they are not, or not any more.
        """
        if not self._readiness.is_ready:
            phase = self._readiness.phase.name.lower()
            raise ServableNotReady(f"the node is not ready: it is {phase}")

    def _timeout_seconds(self, request: web.Request) -> float:
        """Return the time that the client gives, or the default when that is less."""
        text = request.headers.get(TIMEOUT)
        if text is None:
            return self._default_timeout_seconds
        if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and int(text)):
            raise InvalidRequest(f"{TIMEOUT} is {text!r:.40}: give a number of milliseconds from 1")
        return min(int(text) / 1000, self._default_timeout_seconds)
