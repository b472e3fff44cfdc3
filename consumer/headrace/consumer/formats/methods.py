"""What classify and regress ask of a signature, and what they make of its outputs.

Source: tensorflow_serving/servables/tensorflow/classifier.cc and regressor.cc, 2.20. As there by
default, a signature's method name does not matter: aliases, dtypes and shapes do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Protocol, cast

import numpy as np

from headrace.consumer.core.errors import InvalidRequest
from headrace.consumer.formats.json_tensors import Json, to_json
from headrace.consumer.platforms.platform import Array, Signature
from headrace.protos.tensorflow_serving_pb2 import (
    Class,
    ClassificationResult,
    Classifications,
    Regression,
    RegressionResult,
)

INPUTS: Final = "inputs"
CLASSES: Final = "classes"
SCORES: Final = "scores"
OUTPUTS: Final = "outputs"


class Method(Protocol):
    """Something that is computed for each of several examples.

    **Concurrency:** immutable.
    """

    request: ClassVar[str]
    """The name of its request message."""

    def outputs(self, signature: Signature) -> tuple[str, ...]:
        """Return the outputs that it reads.

        Raises:
            InvalidRequest: the signature does not have them; the text says what it should have.
        """
        ...

    def result(self, outputs: Mapping[str, Array], count: int) -> bytes:
        """Return its result for `count` examples, in protobuf's wire format.

        Raises:
            InvalidRequest: the outputs are none for so many examples.
            ValueError: the message cannot carry an output; the text says which.
        """
        ...

    def json(self, outputs: Mapping[str, Array], count: int) -> Json:
        """Return its result for `count` examples as a JSON value.

        Raises:
            InvalidRequest: the outputs are none for so many examples.
        """
        ...


class Classify:
    """Labels, scores, or both, for each example.

    **Concurrency:** immutable.
    """

    request: ClassVar[str] = "ClassificationRequest"

    def outputs(self, signature: Signature) -> tuple[str, ...]:
        """Return which of classes and scores there are; see `Method`."""
        _check_input(signature)
        if len(signature.outputs) not in {1, 2}:
            raise InvalidRequest(
                f"Expected one or two output Tensors, found {len(signature.outputs)}: "
                f"{_listed(signature.outputs)}"
            )
        found = tuple(alias for alias in (CLASSES, SCORES) if alias in signature.outputs)
        if not found:
            raise InvalidRequest(
                "Expected classification signature outputs to contain at least one of "
                f'"{CLASSES}" or "{SCORES}"; signature {signature.name} has: '
                f"{_listed(signature.outputs)}"
            )
        return found

    def result(self, outputs: Mapping[str, Array], count: int) -> bytes:
        """Return a ClassificationResult; see `Method`."""
        labels, scores = _classes(outputs, count)
        try:
            texts = [[label.decode() for label in row] for row in labels.tolist()]
        except UnicodeDecodeError as error:
            raise ValueError(
                f"output {CLASSES!r} is not UTF-8, which labels must be: {error}"
            ) from error
        rows = zip(texts, scores.tolist(), strict=True)
        return ClassificationResult(
            classifications=[
                Classifications(
                    classes=[
                        Class(label=label, score=score) for label, score in zip(*row, strict=True)
                    ]
                )
                for row in rows
            ]
        ).SerializeToString()

    def json(self, outputs: Mapping[str, Array], count: int) -> Json:
        """Return a list of `[label, score]` for each example; see `Method`."""
        labels, scores = _classes(outputs, count)
        rows = zip(
            cast("list[list[Json]]", to_json(CLASSES, labels)),
            cast("list[list[Json]]", to_json(SCORES, scores)),
            strict=True,
        )
        return [[list(pair) for pair in zip(*row, strict=True)] for row in rows]


class Regress:
    """One number for each example.

    **Concurrency:** immutable.
    """

    request: ClassVar[str] = "RegressionRequest"

    def outputs(self, signature: Signature) -> tuple[str, ...]:
        """Return the only output; see `Method`."""
        _check_input(signature)
        if set(signature.outputs) != {OUTPUTS}:
            raise InvalidRequest(
                f'Expected one output Tensor, "{OUTPUTS}"; regression signature {signature.name} '
                f"has: {_listed(signature.outputs)}"
            )
        return (OUTPUTS,)

    def result(self, outputs: Mapping[str, Array], count: int) -> bytes:
        """Return a RegressionResult; see `Method`."""
        values = _values(outputs[OUTPUTS], count).tolist()
        return RegressionResult(
            regressions=[Regression(value=value) for value in values]
        ).SerializeToString()

    def json(self, outputs: Mapping[str, Array], count: int) -> Json:
        """Return a list of numbers; see `Method`."""
        return to_json(OUTPUTS, _values(outputs[OUTPUTS], count))


def _check_input(signature: Signature) -> None:
    if set(signature.inputs) != {INPUTS}:
        raise InvalidRequest(
            f'Expected one input Tensor, "{INPUTS}", that takes serialised examples; signature '
            f"{signature.name} has: {_listed(signature.inputs)}"
        )


def _classes(outputs: Mapping[str, Array], count: int) -> tuple[Array, Array]:
    """Return labels and scores; what the model does not give is empty, or zero."""
    for alias, dtype in ((CLASSES, np.dtype(object)), (SCORES, np.dtype(np.float32))):
        if alias in outputs:
            _check_matrix(alias, outputs[alias], dtype, count)
    found = list(outputs.values())
    widths = [array.shape[1] for array in found]
    if len(set(widths)) > 1:
        raise InvalidRequest(
            "Tensors class and score should match in dim_size(1). Got "
            f"{outputs[CLASSES].shape[1]} vs. {outputs[SCORES].shape[1]}"
        )
    shape = found[0].shape
    labels = outputs.get(CLASSES)
    scores = outputs.get(SCORES)
    return (
        np.full(shape, b"", object) if labels is None else labels,
        np.zeros(shape, np.float32) if scores is None else scores,
    )


def _check_matrix(alias: str, array: Array, dtype: np.dtype[Any], count: int) -> None:
    if array.ndim != 2:
        raise InvalidRequest(
            "Expected Tensor shape: [batch_size num_classes] but got "
            f"{list(array.shape)} of {alias}"
        )
    if array.dtype != dtype:
        raise InvalidRequest(
            f"Expected {alias} Tensor of {_name(dtype)}. Got: {_name(array.dtype)}"
        )
    if len(array) != count:
        raise InvalidRequest(f"Expected {alias} output batch size of {count}. Got: {len(array)}")


def _values(array: Array, count: int) -> Array:
    if array.ndim != 1 and array.shape[1:] != (1,):
        raise InvalidRequest(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{list(array.shape)}"
        )
    if len(array) != count:
        raise InvalidRequest(
            f"Input batch size did not match output batch size: {count} vs. {len(array)}"
        )
    if array.dtype != np.float32:
        raise InvalidRequest(f"Expected output Tensor of DT_FLOAT. Got: {_name(array.dtype)}")
    return array.reshape(count)


def _name(dtype: np.dtype[Any]) -> str:
    """Return TensorFlow's name of a dtype."""
    names = {"object": "DT_STRING", "float32": "DT_FLOAT", "float64": "DT_DOUBLE"}
    return names.get(dtype.name, f"DT_{dtype.name.upper()}")


def _listed(aliases: Mapping[str, object]) -> str:
    return ", ".join(sorted(aliases)) or "none"
