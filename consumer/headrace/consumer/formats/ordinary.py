"""The ordinary path: payloads read one by one, and answers written one by one."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from headrace.consumer.core.errors import InvalidRequest
from headrace.consumer.formats.request import Alike, InferRequest, Refused
from headrace.consumer.platforms.platform import Array

MAX_EMPTY_ELEMENTS: Final = 1 << 24
"""Of a tensor without values, were its zeros ones: it costs nothing to claim rows of nothing, and a
model may well answer with a value for each."""


class Codec(Protocol):
    """How one request is read and one answer is written in some encoding.

    **Concurrency:** one caller at a time.
    """

    def read(self, payload: bytes) -> InferRequest | InvalidRequest:
        """Return the request in a payload, or what is wrong with it.

        `UnreadableRequest` stands for bytes that are no request at all.
        """
        ...

    def write(self, signature: str, outputs: Mapping[str, Array], style: Hashable) -> bytes:
        """Return one encoded answer.

        Raises:
            RequestError: the outputs are no answer to what was asked.
            ValueError: this encoding cannot carry an output; the text says which.
        """
        ...


class Ordinary:
    """A format that asks its codec for each request and each answer.

    **Concurrency:** one caller at a time.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def decode(self, payloads: Sequence[bytes]) -> Iterator[Alike | Refused]:
        """Yield the requests, each by itself; see `request.Format.decode`."""
        return (self.decode_one(place, payload) for place, payload in enumerate(payloads))

    def decode_one(self, position: int, payload: bytes) -> Alike | Refused:
        """Return the request in one payload, or what is wrong with it."""
        request = self._codec.read(payload)
        if isinstance(request, InvalidRequest):
            return Refused(position, request)
        for alias, array in request.inputs.items():
            if not array.size and math.prod([n or 1 for n in array.shape]) > MAX_EMPTY_ELEMENTS:
                words = f"{alias}: shape {list(array.shape)} is too large for no values"
                return Refused(position, InvalidRequest(f"tensor parsing error: {words}"))
        try:
            inputs = {alias: array[None] for alias, array in request.inputs.items()}
        except IndexError as error:  # numpy has no room for one more dimension
            return Refused(position, InvalidRequest(f"tensor parsing error: {error}"))
        return Alike((position,), request._replace(inputs=inputs))

    def encode(
        self, signature: str, outputs: Mapping[str, Array], count: int, style: Hashable
    ) -> list[bytes]:
        """Return the answers; see `request.Format.encode`."""
        return [
            self._codec.write(
                signature, {alias: array[place, ...] for alias, array in outputs.items()}, style
            )
            for place in range(count)
        ]
