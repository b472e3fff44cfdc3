"""Fetches payloads that requests only claim: bounded in place, size, number and time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Event
from types import TracebackType
from typing import Final, Self

from headrace.consumer.core.errors import (
    ClaimRefused,
    DeadlineExceeded,
    PayloadTooLarge,
    UnreadableRequest,
)
from headrace.consumer.stream.byte_budget import ByteBudget
from headrace.consumer.stream.payload_stores import PayloadStore, payload_stores
from headrace.schemas.claims import Claim
from headrace.schemas.errors import WireError

_AT_ONCE: Final = 8
_TIMEOUT_SECONDS: Final = 30.0
_BUDGET_PAYLOADS: Final = 2


class Claims:
    """Turns the value of a claim into the request bytes that it claims.

    Args:
        stores: folders or URIs that payloads may lie below; none refuses every claim.
        max_bytes: the largest payload fetched.
        timeout_seconds: the longest one fetch may take, from waiting for its turn on.
        max_at_once: how many are fetched at once.
        max_bytes_in_flight: what those may take together, at least `max_bytes`; by default two
            payloads of the largest size.

    **Concurrency:** event loop only; any number of callers, who are served in their order.

    Raises:
        NodeError: a store that is neither a folder nor a URI that a node follows.
    """

    def __init__(
        self,
        stores: Sequence[str],
        max_bytes: int,
        *,
        timeout_seconds: float = _TIMEOUT_SECONDS,
        max_at_once: int = _AT_ONCE,
        max_bytes_in_flight: int = 0,
    ) -> None:
        self._stores = payload_stores(stores)
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds
        self._budget = ByteBudget(
            max(max_bytes, max_bytes_in_flight or _BUDGET_PAYLOADS * max_bytes)
        )
        # Threads of its own: a store that hangs takes these, and none that others need.
        self._threads = ThreadPoolExecutor(max_at_once, thread_name_prefix="claims")

    async def __aenter__(self) -> Self:
        """Return itself: threads start when they are needed."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take nothing more; a fetch that hangs is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def fetch(self, value: bytes, *, deadline: float | None = None) -> bytes:
        """Return the payload that a record's value claims, verified.

        `Claim.decode(value).content_type` says what it is. Memory counts against the bound until
        this returns; from then on it is the caller's.

        Args:
            value: a record's value with the content type of a claim.
            deadline: a reading of the monotonic clock.

        Raises:
            UnreadableRequest: the value is no claim.
            ClaimRefused: the payload lies in no store that this node fetches from.
            PayloadTooLarge: it is larger than the node fetches.
            PayloadMissing: it is not there.
            PayloadUnreachable: the store cannot be read now.
            PayloadCorrupt: it is not the payload that was claimed.
            DeadlineExceeded: it was not there in time.

        Cancellation: the fetch ends with its next piece; until then it keeps its turn.
        """
        claim, store, name = self._admit(value)
        seconds = self._timeout_seconds
        if deadline is not None:
            seconds = min(seconds, deadline - time.monotonic())
        try:
            async with asyncio.timeout(seconds):
                await self._budget.acquire(claim.size_bytes)
                return await self._fetch(claim, store, name)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"the payload at {claim.uri:.300} was not there within {max(seconds, 0):.3g} s"
            ) from error

    def _admit(self, value: bytes) -> tuple[Claim, PayloadStore, str]:
        """Return what to read and where from; looks at nothing but the value."""
        if not self._stores:
            raise ClaimRefused(
                "this node takes no claims, because its setting claim_stores is empty: name the "
                "store of the payloads there, or send the request itself"
            )
        try:
            claim = Claim.decode(value)
        except WireError as error:
            raise UnreadableRequest(str(error)) from error
        for store in self._stores:
            name = store.name(claim.uri)
            if name is None:
                continue
            if claim.size_bytes > self._max_bytes:
                raise PayloadTooLarge(
                    f"the request claims {claim.size_bytes} bytes; this node fetches at most "
                    f"{self._max_bytes} (claim_max_bytes)"
                )
            return claim, store, name
        raise ClaimRefused(
            f"the request claims {claim.uri!r:.300}, which is not a plain name below any of "
            f"this node's claim_stores: {', '.join(store.prefix for store in self._stores)}"
        )

    async def _fetch(self, claim: Claim, store: PayloadStore, name: str) -> bytes:
        """Read in a thread; the budget is given back when the thread has ended, not before."""
        gone, loop = Event(), asyncio.get_running_loop()

        def give_back(_job: Future[bytes]) -> None:
            # A loop that has ended has no use for it.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._budget.release, claim.size_bytes)

        try:
            job = self._threads.submit(store.read, name, claim, gone)
        except BaseException:
            self._budget.release(claim.size_bytes)
            raise
        job.add_done_callback(give_back)
        try:
            return await asyncio.wrap_future(job)
        finally:
            gone.set()
