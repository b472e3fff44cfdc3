"""A decoded request, and what a format must do: decode payloads, encode outputs.

A format sees many payloads or many answers at once, so that it may work on all of them together.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from headrace.consumer.core.errors import InvalidRequest
from headrace.consumer.platforms.platform import Array


class InferRequest(NamedTuple):
    """What a request asks for, whatever it was encoded as.

    `signature` empty means `serving_default`; `output_filter` empty means every output. `style` is
    what the format must know again to encode the answer; requests of one style are encoded alike.
    """

    signature: str
    inputs: Mapping[str, Array]
    output_filter: tuple[str, ...]
    style: Hashable = None


class Alike(NamedTuple):
    """Requests of one decoding that differ in the values of their tensors and in nothing else.

    Shapes: every input of `request` has a leading axis for the requests, in the order of
    `positions`: `(len(positions), *shape of one)`.
    """

    positions: Sequence[int]
    request: InferRequest


class Refused(NamedTuple):
    """A payload that is no request that could be run, and why not.

    `UnreadableRequest` stands for bytes that are no request at all.
    """

    position: int
    error: InvalidRequest


class Format(Protocol):
    """One encoding of requests and answers, made for one version of one model.

    **Concurrency:** one caller at a time.
    """

    def decode(self, payloads: Sequence[bytes]) -> Iterator[Alike | Refused]:
        """Yield the requests in the payloads; each position is there exactly once.

        As they are asked for: decoded, all together may be far larger than the payloads.
        """
        ...

    def encode(
        self, signature: str, outputs: Mapping[str, Array], count: int, style: Hashable
    ) -> list[bytes]:
        """Return `count` encoded answers.

        Shapes: every output has a leading axis for the answers: `(count, *shape of one)`.

        Raises:
            RequestError: the outputs are no answer to what was asked.
            ValueError: this encoding cannot carry an output; the text says which.
        """
        ...
