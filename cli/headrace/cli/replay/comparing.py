"""What differs between two answers to one request: their outputs as numbers, or their errors."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np

from headrace.consumer.core.calls import Encoding
from headrace.consumer.formats.outputs import outputs
from headrace.consumer.platforms.platform import Array
from headrace.publisher.clients import Message
from headrace.schemas import codec
from headrace.schemas.records import InferenceResponse
from headrace.schemas.topics import AnswerHeader, RequestHeader

_AVRO_TYPES: Final = (b"", b"application/vnd.headrace.avro", b"avro/binary")
# What an encoded answer without outputs ends with: an empty signature, no outputs, no error.
_REST_BYTES: Final = 3


class Verdict(StrEnum):
    """How an answer compares to the one given then."""

    SAME = "same"
    WITHIN = "within_tolerance"
    DIFFERENT = "different"
    ERROR_THEN = "error_then"
    ERROR_NOW = "error_now"
    NOT_FOUND = "not_found"


class Difference(NamedTuple):
    """The largest difference of one output; what is no number differs infinitely."""

    output: str
    absolute: float
    relative: float
    words: str


class Comparison(NamedTuple):
    """A verdict, and the outputs that are to blame, the worst first."""

    verdict: Verdict
    differences: tuple[Difference, ...] = ()


class Comparer:
    """Compares answers for one model.

    **Concurrency:** one task.

    Args:
        model: the model.
        tolerance: up to which absolute or relative difference of an element counts as none that
            matters. NaN equals NaN.
    """

    def __init__(self, model: str, tolerance: float) -> None:
        self._model = model
        self._tolerance = tolerance
        self._heads: dict[bytes, bytes] = {}

    def compare(self, then: Message, now: Message) -> Comparison:
        """Return what differs between the answer given then and the one of now."""
        headers_then, headers_now = dict(then.headers), dict(now.headers)
        error_then = headers_then.get(AnswerHeader.ERROR_CODE, b"").decode()
        error_now = headers_now.get(AnswerHeader.ERROR_CODE, b"").decode()
        if error_then or error_now:
            return _compare_errors(error_then, error_now)
        if self._rest(then, headers_then) == self._rest(now, headers_now):
            return Comparison(Verdict.SAME)
        try:
            return self._judge(_outputs(then, headers_then), _outputs(now, headers_now))
        except ValueError as error:
            return Comparison(Verdict.DIFFERENT, (_unlike("", f"other bytes: {error}"),))

    def _rest(self, message: Message, headers: Mapping[str, bytes]) -> bytes | None:
        """Return an Avro value without the model and the version that it begins with.

        Most answers that are the same differ in nothing but the version, and are not decoded.
        """
        value, version = message.value or b"", headers.get(AnswerHeader.VERSION, b"")
        if not version.isdigit():
            return value
        head = self._heads.get(version)
        if head is None:
            bare = InferenceResponse(model=self._model, version=int(version), signature="")
            head = self._heads[version] = codec.encode(bare)[:-_REST_BYTES]
        return value.removeprefix(head)

    def _judge(self, then: Mapping[str, Array], now: Mapping[str, Array]) -> Comparison:
        found = [_unlike(name, "not there any more") for name in then.keys() - now.keys()]
        found += [_unlike(name, "was not there then") for name in now.keys() - then.keys()]
        is_within = not found
        for name in then.keys() & now.keys():
            difference = _difference(name, then[name], now[name])
            if difference is not None:
                found.append(difference)
                is_within &= _is_within(then[name], now[name], self._tolerance)
        found.sort(key=lambda each: -each.absolute)
        if not found:
            return Comparison(Verdict.SAME)
        return Comparison(Verdict.WITHIN if is_within else Verdict.DIFFERENT, tuple(found))


def _compare_errors(then: str, now: str) -> Comparison:
    """Compare by the codes of errors, of which one at least is not empty."""
    if then == now:
        return Comparison(Verdict.SAME)
    verdict = Verdict.ERROR_NOW if not then else Verdict.DIFFERENT if now else Verdict.ERROR_THEN
    words = [f"error {code} {when}" for code, when in ((then, "then"), (now, "now")) if code]
    return Comparison(verdict, (_unlike("", ", ".join(words)),))


def _unlike(output: str, words: str) -> Difference:
    return Difference(output, float("inf"), float("inf"), words)


def _difference(name: str, then: Array, now: Array) -> Difference | None:
    """Return how far an output is from what it was, None when nowhere."""
    if then.dtype != now.dtype:
        return _unlike(name, f"dtype {then.dtype} then, {now.dtype} now")
    if then.shape != now.shape:
        return _unlike(name, f"shape {list(then.shape)} then, {list(now.shape)} now")
    if then.dtype.kind in "OSU":
        count = int(np.count_nonzero(then != now))
        return _unlike(name, f"{count} of {then.size} strings differ") if count else None
    absolute, relative = _distances(then, now)
    count = int(np.count_nonzero(absolute))
    if not count:
        return None
    words = f"{count} of {then.size} elements differ"
    return Difference(name, float(absolute.max()), float(relative.max()), words)


def _is_within(then: Array, now: Array, tolerance: float) -> bool:
    if then.dtype != now.dtype or then.shape != now.shape or then.dtype.kind in "OSU":
        return False
    absolute, relative = _distances(then, now)
    return bool(np.all((absolute <= tolerance) | (relative <= tolerance)))


def _distances(then: Array, now: Array) -> tuple[Array, Array]:
    """Return absolute and relative differences of the elements; NaN is 0 from NaN, else infinite.

    Shapes: those of the arrays, float64.
    """
    wide = np.complex128 if then.dtype.kind == "c" else np.float64
    before, after = then.astype(wide), now.astype(wide)
    is_same = (then == now) | (np.isnan(before) & np.isnan(after))
    with np.errstate(all="ignore"):
        absolute = np.where(is_same, 0.0, np.abs(before - after))
        absolute = np.where(np.isnan(absolute), np.inf, absolute)
        # Whole numbers beyond 2**53 may differ where their floats do not.
        absolute = np.where(~is_same & (absolute == 0), 1.0, absolute)
        relative = absolute / np.maximum(np.abs(before), np.abs(after))
    return absolute, np.where(is_same, 0.0, np.where(np.isnan(relative), np.inf, relative))


def _outputs(message: Message, headers: Mapping[str, bytes]) -> Mapping[str, Array]:
    """Return an answer's outputs.

    Raises:
        ValueError: its value cannot be read, or it is of a kind that is compared byte by byte only.
    """
    kind = headers.get(RequestHeader.CONTENT_TYPE, b"")
    for is_meant, encoding in (
        (kind in _AVRO_TYPES, Encoding.AVRO),
        (kind.endswith(b"tensorflow.serving.PredictResponse"), Encoding.TENSORFLOW_SERVING),
        (kind.endswith(b"inference.ModelInferResponse"), Encoding.OPEN_INFERENCE),
        (kind.startswith(b"application/json"), Encoding.TENSORFLOW_JSON),
    ):
        if is_meant:
            return outputs(encoding, message.value or b"")
    raise ValueError(f"content type {kind.decode(errors='replace')} is compared by bytes")
