"""What goes into a request record: the request itself, or a claim on it where it is too large."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from headrace.publisher.claim_store import ClaimStore
from headrace.publisher.errors import InferenceFailed, StoreError
from headrace.publisher.inference import Request, encode_request
from headrace.schemas.claims import CLAIM_CONTENT_TYPE
from headrace.schemas.errors import WireError
from headrace.schemas.routes import read_route
from headrace.schemas.topics import RequestHeader

AHEAD: Final = 16
"""How many requests of one call are packed together: so many large ones may be in memory."""


class Packed(NamedTuple):
    """A record's value, and the headers that say how to read it."""

    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()


class Packer:
    """Encodes requests; those of more than `max_bytes` with their key go to the store, if any.

    **Concurrency:** one event loop, any number of callers.
    """

    def __init__(self, max_bytes: int, store: ClaimStore | None) -> None:
        self._max_bytes = max_bytes
        self._store = store

    async def pack(self, request: Request, key: bytes | None) -> Packed:
        """Return what to send for a request.

        Raises:
            InferenceFailed: it has no wire form (INVALID_ARGUMENT), or is too large for the topic
                and the store does not take it (UNAVAILABLE).
        """
        value = encode_request(request)
        if self._store is None or len(value) + len(key or b"") <= self._max_bytes:
            return Packed(value)
        try:
            route = read_route(value, max_bytes=len(value))
            claim = await self._store.put(value)
            packed = claim.encode()
        except (StoreError, WireError) as error:
            raise InferenceFailed("UNAVAILABLE", str(error)) from error
        # A node reads the route from the first bytes of a value, and these are not there.
        headers = [
            (RequestHeader.CONTENT_TYPE, CLAIM_CONTENT_TYPE.encode()),
            (RequestHeader.MODEL, route.model.encode()),
        ]
        if route.version is not None:
            headers.append((RequestHeader.VERSION, b"%d" % route.version))
        if route.label is not None:
            headers.append((RequestHeader.LABEL, route.label.encode()))
        return Packed(packed, headers)

    async def pack_all(
        self, requests: Sequence[Request], keys: Sequence[bytes | None]
    ) -> list[Packed | InferenceFailed]:
        """Return what to send for each request, or why it cannot be sent."""
        pairs = list(zip(requests, keys, strict=True))
        if self._store is None:
            return [await self._try(*pair) for pair in pairs]
        return await asyncio.gather(*(self._try(*pair) for pair in pairs))

    async def _try(self, request: Request, key: bytes | None) -> Packed | InferenceFailed:
        try:
            return await self.pack(request, key)
        except InferenceFailed as failure:
            return failure
