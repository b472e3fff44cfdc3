"""A model that takes every dtype, in every encoding, and the formats that a worker has for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import ml_dtypes
import numpy as np

from headrace.consumer.core.calls import Calls
from headrace.consumer.core.codes import Code
from headrace.consumer.platforms.platform import Array, PlatformError, Signature, TensorSpec

DTYPES = (
    *(np.bool_, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64),
    *(np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.complex64, np.complex128, object),
)


def _signature(
    name: str, inputs: Mapping[str, TensorSpec], outputs: Mapping[str, TensorSpec]
) -> Signature:
    return Signature(name, inputs, outputs, {})


def _spec(dtype: object, *shape: int | None) -> TensorSpec:
    return TensorSpec("t", np.dtype(dtype), shape)  # type: ignore[call-overload]


def _signatures() -> dict[str, Signature]:
    matrix, vector, text = (
        _spec(np.float32, None, None),
        _spec(np.float32, None),
        _spec(object, None),
    )
    found = [
        _signature("serving_default", {"x": matrix}, {"y": matrix, "sum": vector}),
        _signature("two", {"a": vector, "b": _spec(np.int64, None)}, {"y": vector}),
        _signature("classify", {"inputs": text}, {"scores": matrix}),
        _signature("regress", {"inputs": text}, {"outputs": vector}),
    ]
    for dtype in DTYPES:
        spec = _spec(dtype, None)
        found.append(_signature(np.dtype(dtype).name, {"x": spec}, {"x": spec}))
    return {each.name: each for each in found}


class Everything:
    """Numpy functions under signatures; a run with a negative infinity in it fails.

    **Concurrency:** one caller at a time.
    """

    signature_def = b""
    signatures: Mapping[str, Signature] = _signatures()

    def run(
        self,
        signature: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_seconds: float | None,  # noqa: ARG002 - as every model
    ) -> dict[str, Array]:
        """Compute the outputs, row by row."""
        every: dict[str, Array]
        match signature:
            case "serving_default":
                x = inputs["x"]
                if x.ndim != 2:
                    raise PlatformError(Code.INVALID_ARGUMENT, "x must be a matrix")
                if np.isneginf(x).any():
                    raise PlatformError(Code.INTERNAL, "there is a negative infinity")
                every = {"y": x * np.float32(2), "sum": x.max(axis=1, initial=0)}
            case "two":
                if inputs["a"].shape != inputs["b"].shape:
                    raise PlatformError(Code.INVALID_ARGUMENT, "a and b differ in shape")
                every = {"y": inputs["a"] + inputs["b"].astype(np.float32)}
            case "classify":
                lengths = np.array([len(text) for text in inputs["inputs"].ravel()], np.float32)
                every = {"scores": np.stack([lengths, lengths], axis=1)}
            case "regress":
                lengths = np.array([len(text) for text in inputs["inputs"].ravel()], np.float32)
                every = {"outputs": lengths}
            case _:
                every = {"x": inputs["x"]}
        return {alias: every[alias] for alias in outputs}

    def recorded_calls(self) -> Iterator[Calls | None]:
        """There are none."""
        return iter(())
