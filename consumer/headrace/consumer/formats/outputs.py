"""The outputs of an answer, in whatever encoding, as arrays: what a client would read from it.

What else an answer says (model, version, id, signature) is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, cast

import msgspec
import numpy as np
from google.protobuf.message import DecodeError

from headrace.consumer.core.calls import Encoding
from headrace.consumer.core.errors import InvalidRequest
from headrace.consumer.formats.json_bodies import parsed, parsed_as
from headrace.consumer.formats.json_tensors import Json, is_bytes, to_array
from headrace.consumer.formats.methods import CLASSES, OUTPUTS, SCORES
from headrace.consumer.formats.open_inference_json import Input, arrays, unframed
from headrace.consumer.formats.open_inference_tensors import from_contents, from_raw
from headrace.consumer.formats.tensor_proto import from_tensor_proto
from headrace.consumer.platforms.platform import Array
from headrace.protos.open_inference_pb2 import ModelInferResponse
from headrace.protos.tensorflow_serving_pb2 import (
    ClassificationResponse,
    PredictResponse,
    RegressionResponse,
)
from headrace.schemas import codec
from headrace.schemas.records import InferenceResponse
from headrace.schemas.tensors import from_tensor

UNNAMED: Final = OUTPUTS
"""What an output is called whose name its encoding leaves out: the only one of an answer in
TensorFlow Serving's JSON."""

_MAX_AVRO_BYTES: Final = 2**31
_MAX_INT64: Final = 2**63 - 1


def outputs(encoding: Encoding, payload: bytes) -> Mapping[str, Array]:
    """Return the outputs of an answer that is no error, by name.

    Classes and scores are two outputs of a classification, whatever the model gave.

    Raises:
        ValueError: the payload is no such answer; the text says why.
    """
    try:
        return _READERS[encoding](payload)
    except (DecodeError, InvalidRequest) as error:
        raise ValueError(str(error)) from error


def _avro(payload: bytes) -> Mapping[str, Array]:
    response = codec.decode(payload, InferenceResponse, max_bytes=_MAX_AVRO_BYTES)
    return {tensor.name: from_tensor(tensor) for tensor in response.outputs}


def _predict(payload: bytes) -> Mapping[str, Array]:
    protos = PredictResponse.FromString(payload).outputs
    return {name: from_tensor_proto(proto) for name, proto in protos.items()}


def _classification(payload: bytes) -> Mapping[str, Array]:
    rows = [
        [(each.label, each.score) for each in row.classes]
        for row in ClassificationResponse.FromString(payload).result.classifications
    ]
    return _classes(cast("Json", rows), np.dtype(np.float32))


def _regression(payload: bytes) -> Mapping[str, Array]:
    regressions = RegressionResponse.FromString(payload).result.regressions
    return {OUTPUTS: np.array([each.value for each in regressions], np.float32)}


def _open_inference(payload: bytes) -> Mapping[str, Array]:
    answer = ModelInferResponse.FromString(payload)
    raw = answer.raw_output_contents
    if raw:
        pairs = zip(answer.outputs, raw, strict=True)
        return {tensor.name: from_raw(tensor, content) for tensor, content in pairs}
    return {tensor.name: from_contents(tensor) for tensor in answer.outputs}


class _Answer(msgspec.Struct):
    outputs: list[Input]


def _open_inference_json(payload: bytes) -> Mapping[str, Array]:
    text, packed = unframed(payload)
    return arrays(parsed_as(_Answer, text).outputs, packed)


def _predict_json(payload: bytes) -> Mapping[str, Array]:
    body = parsed(payload)
    found = body.get("outputs", body.get("predictions"))
    if isinstance(found, list) and found and _is_named(found[0]):
        rows = cast("list[dict[str, Json]]", found)
        return {name: _array([row[name] for row in rows]) for name in rows[0]}
    if _is_named(found):
        columns = cast("dict[str, Json]", found)
        return {name: _array(value) for name, value in columns.items()}
    return {UNNAMED: _array(found)}


def _is_named(value: Json) -> bool:
    return isinstance(value, dict) and not is_bytes(value)


def _classification_json(payload: bytes) -> Mapping[str, Array]:
    return _classes(parsed(payload).get("results"), np.dtype(np.float64))


def _regression_json(payload: bytes) -> Mapping[str, Array]:
    return {OUTPUTS: _array(parsed(payload).get("results"))}


def _classes(rows: Json, scores: np.dtype[np.float32] | np.dtype[np.float64]) -> dict[str, Array]:
    """Return labels and scores of rows of pairs.

    Shapes: (examples, classes) each.
    """
    try:
        pairs = cast("list[list[tuple[Json, float]]]", rows)
        labels: list[Json] = [[label for label, _ in row] for row in pairs]
        numbers = [[score for _, score in row] for row in pairs]
        return {
            CLASSES: to_array(labels, np.dtype(object)),
            SCORES: np.array(numbers, scores).reshape(len(numbers), -1),
        }
    except TypeError as error:
        raise ValueError(f"classes are pairs of label and score: {error}") from error


def _array(value: Json) -> Array:
    """Return a JSON value as an array of the narrowest kind that holds all its elements.

    Raises:
        ValueError: it is no tensor.
    """
    found: Array = np.array(value, object)
    elements: list[Json] = found.ravel().tolist()
    kinds = set(map(type, elements))
    if kinds & {str, dict}:
        return to_array(value, np.dtype(object))
    if kinds == {bool}:
        return to_array(value, np.dtype(np.bool_))
    if kinds == {int}:
        is_large = max(cast("list[int]", elements)) > _MAX_INT64
        return to_array(value, np.dtype(np.uint64 if is_large else np.int64))
    return to_array(value, np.dtype(np.float64))


_READERS: Final[Mapping[Encoding, Callable[[bytes], Mapping[str, Array]]]] = {
    Encoding.AVRO: _avro,
    Encoding.TENSORFLOW_SERVING: _predict,
    Encoding.OPEN_INFERENCE: _open_inference,
    Encoding.TENSORFLOW_JSON: _predict_json,
    Encoding.CLASSIFICATION: _classification,
    Encoding.REGRESSION: _regression,
    Encoding.CLASSIFICATION_JSON: _classification_json,
    Encoding.REGRESSION_JSON: _regression_json,
    Encoding.OPEN_INFERENCE_JSON: _open_inference_json,
}
