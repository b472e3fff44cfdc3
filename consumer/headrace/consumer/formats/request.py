"""A decoded request, and what a format must do: decode payloads, encode outputs.

A format sees many payloads or many answers at once, so that it may work on all of them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import EllipsisType
from typing import NamedTuple, Protocol, TypeAlias

from headrace.consumer.core.errors import InvalidRequest
from headrace.consumer.platforms.platform import Array

Rows: TypeAlias = slice | EllipsisType
"""One request's part of stacked outputs: its rows, or everything (`...`) of a run for it alone."""


class InferRequest(NamedTuple):
    """What a request asks for, whatever it was encoded as.

    `signature` empty means `serving_default`; `output_filter` empty means every output.
    """

    signature: str
    inputs: dict[str, Array]
    output_filter: tuple[str, ...]


class Format(Protocol):
    """One encoding of requests and answers, made for one version of one model.

    **Concurrency:** one caller at a time.
    """

    def decode(self, payloads: Sequence[bytes]) -> Sequence[InferRequest | InvalidRequest]:
        """Return for each payload the request in it, or what is wrong with it.

        `UnreadableRequest` stands for bytes that are no request at all.
        """
        ...

    def encode(
        self, signature: str, outputs: Mapping[str, Array], rows: Sequence[Rows]
    ) -> list[bytes]:
        """Return one encoded answer for each part of the outputs.

        Raises:
            ValueError: this encoding cannot carry an output; the text says which.
        """
        ...
