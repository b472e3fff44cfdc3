"""Where an inference request wants to go, read from the first bytes of its encoding.

A node routes request bytes that a worker decodes. This reads the model and the version or label,
which the schema puts first, and nothing behind them: a value with a good route and bad tensors
has a route, and the worker finds the rest.
"""

from __future__ import annotations

from typing import Final

from headrace.schemas.codec import MAX_BYTES, SHIPPED, decode, encode, fingerprint_of
from headrace.schemas.records import InferenceRequest, Route
from headrace.schemas.writer_schemas import HEADER_BYTES, WriterSchemas

MAX_CACHED_ROUTES: Final = 1024
MAX_CACHED_BYTES: Final = 512

_HEADER: Final = fingerprint_of(InferenceRequest)
# Unions say their branch by number, and zigzag writes number 1 as 2.
_NULL: Final = 0
_PRESENT: Final = 2
_MAX_LONG_BYTES: Final = 10
_EMPTY_ROUTE_BYTES: Final = 3
# What makes a route a whole record: the empty rest of one, so that the codec reads the route.
_REST: Final = encode(InferenceRequest(model="", signature=""))[HEADER_BYTES + _EMPTY_ROUTE_BYTES :]


class RouteReader:
    """Reads routes, and remembers those it read by their bytes.

    **Concurrency:** any thread may call it; at worst two read the same route twice.
    """

    def __init__(self, writers: WriterSchemas = SHIPPED) -> None:
        """Accept requests written with the schemas in `writers`."""
        self._writers = writers
        self._routes: dict[bytes, Route] = {}

    @property
    def remembered(self) -> int:
        """How many routes are remembered, at most `MAX_CACHED_ROUTES`."""
        return len(self._routes)

    def read(self, value: bytes, *, max_bytes: int = MAX_BYTES) -> Route:
        """Return the route of an encoded InferenceRequest.

        It is what decoding the whole value would find. `max_bytes` bounds a value that has to be
        decoded: one of another schema, or one with an unusual beginning.

        Raises:
            WireError: the value is no request, or is cut short within its route.
        """
        end = _end_of_route(value)
        if end == 0:
            return _read_whole(value, self._writers, max_bytes)
        raw = value[:end]
        route = self._routes.get(raw)
        if route is None:
            route = _read_whole(raw + _REST, self._writers, max_bytes)
            self._remember(raw, route)
        return route

    def _remember(self, raw: bytes, route: Route) -> None:
        """Keep the route, and forget all when there are too many: those in use come back."""
        if len(raw) > MAX_CACHED_BYTES:
            return
        if len(self._routes) >= MAX_CACHED_ROUTES:
            self._routes.clear()
        self._routes[raw] = route


def _end_of_route(value: bytes) -> int:
    """Return where the route ends, or 0 when only decoding the whole value can tell."""
    if not value.startswith(_HEADER):
        return 0
    try:
        end = _end_of_text(value, HEADER_BYTES)
        branch = value[end]
        end += 1
        if branch == _PRESENT:
            stop = end + _MAX_LONG_BYTES
            while value[end] & 0x80:
                end += 1
            end += 1
            if end > stop:
                return 0
        elif branch != _NULL:
            return 0
        branch = value[end]
        end += 1
        if branch == _PRESENT:
            end = _end_of_text(value, end)
        elif branch != _NULL:
            return 0
    except IndexError:
        return 0
    return end if end <= len(value) else 0


def _end_of_text(value: bytes, start: int) -> int:
    """Return where the string that begins at `start` ends; IndexError when that is not near."""
    length = value[start]
    if not length & 0x80:
        if length & 1:
            raise IndexError  # a negative length
        return start + 1 + (length >> 1)
    second = value[start + 1]
    if second & 0x80 or length & 1:
        raise IndexError  # longer than 8191 bytes: no name we would cache
    return start + 2 + ((length & 0x7F | second << 7) >> 1)


def _read_whole(value: bytes, writers: WriterSchemas, max_bytes: int) -> Route:
    """Decode the value, which says what is wrong with it if anything is."""
    request = decode(value, InferenceRequest, max_bytes=max_bytes, writers=writers)
    return Route(request.model, request.version, request.label)


def route_bytes(value: bytes) -> bytes:
    """Return the first bytes of a request up to the end of its route; empty if that is unusual.

    Whatever begins with the same bytes has the same route.
    """
    return value[: _end_of_route(value)]


_SHARED: Final = RouteReader()


def read_route(value: bytes, *, max_bytes: int = MAX_BYTES) -> Route:
    """Return the route of a request written with a schema of this package.

    `max_bytes` is as in `RouteReader.read`.

    Raises:
        WireError: the value is no request, or is cut short within its route.
    """
    return _SHARED.read(value, max_bytes=max_bytes)
