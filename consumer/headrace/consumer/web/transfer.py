"""Bodies in and answers out, each within a bound of time: a slow client must not hold memory."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from aiohttp import web

from headrace.consumer.web.admission import Held
from headrace.consumer.web.errors import Refused


class Transfer:
    """Reads bodies and writes answers.

    **Concurrency:** event loop only; any number at once.
    """

    def __init__(self, max_body_bytes: int, timeout_seconds: float) -> None:
        self._max_body_bytes = max_body_bytes
        self._timeout_seconds = timeout_seconds

    async def read(self, request: web.Request, held: Held) -> bytes:
        """Return the whole body, decompressed, which `held` then holds.

        Raises:
            Refused: it is too large, too slow, or not compressed as its header says.
            QueueFull: there is no room for it now.
        """
        if (request.content_length or 0) > self._max_body_bytes:
            raise self._too_large()
        pieces: list[bytes] = []
        try:
            async with asyncio.timeout(self._timeout_seconds):
                while piece := await request.content.readany():
                    held.take(len(piece))
                    if held.size_bytes > self._max_body_bytes:
                        raise self._too_large()
                    pieces.append(piece)
        except TimeoutError:
            raise Refused(
                HTTPStatus.REQUEST_TIMEOUT,
                f"the body was not there within {self._timeout_seconds:g} s",
            ) from None
        except web.RequestPayloadError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, f"the body cannot be read: {error}") from error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def write(self, response: web.Response, request: web.Request) -> None:
        """Write an answer; a client that does not take it in time loses the connection."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()

    def _too_large(self) -> Refused:
        return Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the body is larger than {self._max_body_bytes} bytes, which is what this node takes",
        )
