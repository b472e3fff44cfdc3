"""An example as the request that it stands for, and an answer held against what it expects.

Tensors are written in JSON, and read as the doors that take JSON read them: a signature says what
a number is. They travel in TensorFlow Serving's messages, which carry every dtype there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from headrace.consumer.formats.json_tensors import to_array
from headrace.consumer.formats.tensor_proto import encode_tensor_proto, from_tensor_proto
from headrace.consumer.platforms.signature import DTYPES, Array
from headrace.protos.tensorflow_pb2 import SignatureDef, TensorInfo, TensorProto
from headrace.protos.tensorflow_serving_pb2 import (
    ModelSpec,
    PredictRequest,
    PredictResponse,
    SignatureDefMap,
)
from headrace.schemas.records import Tolerance
from headrace.schemas.trial import Example, Json

_NUMPY: Final[Mapping[int, np.dtype[Any]]] = {number: dtype for dtype, number in DTYPES.items()}
_EXACT: Final = Tolerance()
_MAX_TEXT: Final = 60


class Expectations:
    """What the examples of one model are held against.

    **Concurrency:** immutable.

    Args:
        signature_def: the model's signatures, an encoded SignatureDefMap.
        tolerances: by output; the empty name is for those that have none of their own.
    """

    def __init__(self, signature_def: bytes, tolerances: Mapping[str, Tolerance]) -> None:
        definitions = SignatureDefMap.FromString(signature_def).signature_def
        self._signatures: Mapping[str, SignatureDef] = dict(definitions)
        self._tolerances = tolerances

    def strange_tolerances(self) -> list[str]:
        """Return in words which tolerances are for outputs that no signature has."""
        known = {alias for each in self._signatures.values() for alias in each.outputs}
        return [
            f"there is a tolerance for output {name!r}, and no signature has it; there are: "
            f"{', '.join(sorted(known))}"
            for name in sorted(set(self._tolerances) - known - {""})
        ]

    def request(self, example: Example) -> bytes:
        """Return an example as a PredictRequest.

        What the signature does not have is sent all the same: the worker refuses it in its words.

        Raises:
            ValueError: an input is no tensor of the dtype that the signature says.
        """
        request = PredictRequest(model_spec=ModelSpec(signature_name=example.signature))
        signature = self._signatures.get(example.signature)
        infos = signature.inputs if signature else dict[str, TensorInfo]()
        for alias, value in example.inputs.items():
            array = np.zeros((), np.float32)
            if alias in infos:
                array = _read("input", alias, value, infos[alias])
            proto = TensorProto.FromString(encode_tensor_proto(alias, array))
            request.inputs[alias].CopyFrom(proto)
        return request.SerializeToString()

    def faults(self, example: Example, payload: bytes) -> list[str]:
        """Return in words how an answer, a PredictResponse, differs from what is expected."""
        protos = PredictResponse.FromString(payload).outputs
        given = {alias: from_tensor_proto(proto) for alias, proto in sorted(protos.items())}
        if example.outputs is None:
            return [words for alias, array in given.items() for words in _infinite(alias, array)]
        infos = self._signatures[example.signature].outputs
        found: list[str] = []
        for alias, value in example.outputs.items():
            if alias not in given:
                names = ", ".join(given) or "none"
                found.append(f"the signature has no output {alias!r}; it has {names}")
                continue
            try:
                expected = _read("expected output", alias, value, infos[alias])
            except ValueError as error:
                found.append(str(error))
                continue
            tolerance = self._tolerances.get(alias) or self._tolerances.get("", _EXACT)
            found += _differences(alias, expected, given[alias], tolerance)
        return found


def _read(what: str, alias: str, value: Json, info: TensorInfo) -> Array:
    try:
        return to_array(value, _NUMPY[info.dtype])
    except ValueError as error:
        raise ValueError(f"{what} {alias!r}: {error}") from error


def _infinite(alias: str, given: Array) -> Iterator[str]:
    """Yield in words where an output is no finite number, the first place of it."""
    if given.dtype.kind in "bOiu":
        return
    is_wrong = ~np.isfinite(_wide(given))
    count = int(np.count_nonzero(is_wrong))
    if count:
        place = _first(is_wrong)
        yield (
            f"output {alias!r} has {count} of {given.size} elements that are no finite number, "
            f"such as {given[place]}{_at(place)}"
        )


def _differences(alias: str, expected: Array, given: Array, tolerance: Tolerance) -> Iterator[str]:
    """Yield in words how far an output is from what it should be, at its worst place."""
    if expected.shape != given.shape:
        yield (f"output {alias!r} has shape {list(given.shape)}, expected {list(expected.shape)}")
        return
    if given.dtype.kind in "bO":
        is_wrong = np.asarray(expected != given)
        if is_wrong.any():
            place = _first(is_wrong)
            yield _difference(alias, expected, given, is_wrong, place)
        return
    distance, allowed = _distances(expected, given, tolerance)
    is_wrong = distance > allowed
    if is_wrong.any():
        place = np.unravel_index(int(np.argmax(distance - allowed)), given.shape)
        yield (
            f"{_difference(alias, expected, given, is_wrong, place)}, off by "
            f"{distance[place]:.6g} where {allowed[place]:.6g} is allowed"
        )


def _distances(expected: Array, given: Array, tolerance: Tolerance) -> tuple[Array, Array]:
    """Return how far the elements lie apart, and how far they may.

    NaN where NaN is expected is right; elsewhere it is infinitely far off.

    Shapes: those of the arrays, float64.
    """
    wanted, found = _wide(expected), _wide(given)
    is_same = (expected == given) | (np.isnan(wanted) & np.isnan(found))
    with np.errstate(all="ignore"):
        distance = np.abs(wanted - found)
        # Whole numbers beyond 2**53 may differ where their floats do not.
        distance = np.where(distance == 0, 1.0, distance)
        distance = np.where(is_same, 0.0, np.where(np.isnan(distance), np.inf, distance))
        allowed = tolerance.absolute + tolerance.relative * np.abs(wanted)
        # A share of infinity would allow everything.
        allowed = np.where(np.isfinite(allowed), allowed, tolerance.absolute)
    return distance, allowed


def _wide(array: Array) -> Array:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _first(where: Array) -> tuple[Any, ...]:
    return np.unravel_index(int(np.argmax(where)), where.shape)


def _difference(
    alias: str, expected: Array, given: Array, is_wrong: Array, place: tuple[Any, ...]
) -> str:
    count = int(np.count_nonzero(is_wrong))
    how_many = f", {count} of {given.size} elements, the worst" if count > 1 else ""
    return (
        f"output {alias!r}{how_many}{_at(place)}: expected {_text(expected[place])}, got "
        f"{_text(given[place])}"
    )


def _at(place: tuple[Any, ...]) -> str:
    return f" at {[int(index) for index in place]}" if place else ""


def _text(value: object) -> str:
    text = repr(value) if isinstance(value, bytes) else str(value)
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"
