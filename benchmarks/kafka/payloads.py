"""Requests made once and sent many times, and whether an answer is what its request deserves.

Every model here computes y = 0.5 x + 2 on what it is given, so the answer to request number n is
known from n alone.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.measurement import BenchmarkError
from headrace.publisher.clients import Message
from headrace.publisher.errors import InferenceFailed
from headrace.publisher.inference import encode_request, read_answer
from headrace.schemas.topics import AnswerHeader, RequestHeader

Floats = npt.NDArray[np.float32]

PROVENANCE: Final = frozenset(
    {
        AnswerHeader.MODEL,
        AnswerHeader.VERSION,
        AnswerHeader.CONTROL_OFFSET,
        AnswerHeader.ARTIFACT_DIGEST,
        AnswerHeader.NODE,
    }
)
_ID: Final = struct.Struct(">IQ")
_CORRELATION_ID: Final = RequestHeader.CORRELATION_ID
_MAX_VALUES: Final = 1000
_POOL_BYTES: Final = 32 * 2**20


def correlation_id(run: int, number: int) -> bytes:
    """Return the correlation id of one request of one round: text, as long as a real one."""
    return _ID.pack(run, number).hex().encode()


def request_number(run: int, given: bytes) -> int | None:
    """Return which request an answer belongs to; None when to none of this round."""
    try:
        found, number = _ID.unpack(bytes.fromhex(given.decode()))
    except (ValueError, struct.error):
        return None
    return number if found == run else None


def correlation_header(answer: Message) -> bytes:
    """Return an answer's correlation id; empty when it has none."""
    return next((value for name, value in answer.headers if name == _CORRELATION_ID), b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Payloads:
    """What is sent: request number n asks model n modulo their number, with vector n likewise.

    Attributes:
        models: the models' names, each with an input `x` and an output `y`.
        shape: of `x`, float32.
        values: the encoded requests.
    """

    models: tuple[str, ...]
    shape: tuple[int, ...]
    vectors: list[Floats] = field(repr=False)
    values: list[bytes] = field(repr=False)

    @classmethod
    def of(cls, models: Sequence[str], shape: Sequence[int]) -> Payloads:
        """Make as many different requests as fit into some memory; the same ones every time."""
        floats = int(np.prod(tuple(shape)))
        count = max(4, min(_MAX_VALUES, _POOL_BYTES // (4 * floats)))
        # A multiple, so that request n always asks model n modulo their number.
        count = -(-count // len(models)) * len(models)
        random = np.random.default_rng(20)
        vectors = [random.random(tuple(shape), np.float32) for _ in range(count)]
        values = [
            encode_request((models[number % len(models)], {"x": x}))
            for number, x in enumerate(vectors)
        ]
        return cls(models=tuple(models), shape=tuple(shape), vectors=vectors, values=values)

    @property
    def value_bytes(self) -> int:
        """How long a request's value is."""
        return len(self.values[0])

    def expected(self, number: int) -> Floats:
        """Return the answer to a request."""
        y: Floats = np.float32(0.5) * self.vectors[number % len(self.vectors)] + np.float32(2)
        return y

    def check(self, number: int, answer: Message) -> None:
        """Raise BenchmarkError unless the answer's values are right."""
        found = read_answer(answer)
        if isinstance(found, InferenceFailed):
            raise BenchmarkError(f"request {number} was answered with {found}")
        check_values(number, found.outputs["y"], self.expected(number))

    def check_same(self, number: int, answer: Message) -> None:
        """Raise BenchmarkError unless the answer is the request itself."""
        if answer.value != self.values[number % len(self.values)]:
            raise BenchmarkError(f"request {number} came back changed")


def check_values(number: int, found: npt.NDArray[Any], expected: Floats) -> None:
    """Raise BenchmarkError unless these are the values expected."""
    if found.shape != expected.shape or not np.allclose(found, expected):
        raise BenchmarkError(
            f"request {number} was answered with {found.ravel()[:3].tolist()!r}…, "
            f"not {expected.ravel()[:3].tolist()!r}…"
        )
