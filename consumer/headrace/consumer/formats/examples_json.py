"""The JSON of TensorFlow Serving's REST `:classify` and `:regress`: examples made of features.

A feature is a value or a flat list of values of one kind. JSON says which: whole numbers, true and
false are int64, numbers with a point float, texts and `{"b64": "…"}` bytes.

Source: tensorflow_serving/util/json_tensor.cc (`FillClassifyRegressRequestFromJson`), 2.20.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from enum import Enum
from typing import Final, cast

from headrace.consumer.core.errors import InvalidRequest
from headrace.consumer.formats.examples import check_context, request_for
from headrace.consumer.formats.json_bodies import encoded, parsed, signature_name
from headrace.consumer.formats.json_tensors import Json, is_bytes, to_bytes
from headrace.consumer.formats.methods import Method
from headrace.consumer.formats.request import InferRequest
from headrace.consumer.platforms.platform import Array, Signature
from headrace.protos.tensorflow_pb2 import BytesList, Example, Feature, FloatList, Int64List

_INT64: Final = range(-(2**63), 2**63)
_UINT64: Final = range(2**64)


class _Kind(Enum):
    """What the values of a feature are."""

    INT64 = "int64"
    FLOAT = "float"
    BYTES = "bytes"


class ExamplesJson:
    """The bodies of one method, for a model with these signatures.

    **Concurrency:** one caller at a time.
    """

    def __init__(self, method: Method, signatures: Mapping[str, Signature]) -> None:
        self._method = method
        self._signatures = signatures

    def read(self, payload: bytes) -> InferRequest | InvalidRequest:
        """Return the request in a body; see `ordinary.Codec`."""
        try:
            body = parsed(payload)
            return request_for(
                self._method, self._signatures, signature_name(body), _examples(body)
            )
        except InvalidRequest as error:
            return error

    def write(self, signature: str, outputs: Mapping[str, Array], style: Hashable) -> bytes:  # noqa: ARG002 - an answer does not name it
        """Return a body with the results; see `ordinary.Codec`. The style counts the examples."""
        assert isinstance(style, int)
        return encoded({"results": self._method.json(outputs, style)})


def _examples(body: Mapping[str, Json]) -> list[bytes]:
    context = _example("'context'", body["context"]) if "context" in body else b""
    listed = body.get("examples")
    if not isinstance(listed, list) or not listed:
        raise InvalidRequest("'examples' must be a list with one element at least")
    check_context(context, len(listed))
    return [context + _example(f"example {n}", value) for n, value in enumerate(listed)]


def _example(where: str, value: Json) -> bytes:
    if not isinstance(value, dict):
        raise InvalidRequest(f"{where} must be an object with a value, or a list, for each feature")
    example = Example()
    for name, content in value.items():
        values: list[Json] = content if isinstance(content, list) else [content]
        try:
            example.features.feature[name].CopyFrom(_feature(values))
        except ValueError as error:
            raise InvalidRequest(f"{where}: feature {name!r:.100}: {error}") from error
    return example.SerializeToString()


def _feature(values: list[Json]) -> Feature:
    kinds = {_kind(value) for value in values}
    if len(kinds) > 1:
        named = " and ".join(sorted(kind.value for kind in kinds))
        raise ValueError(f"has {named} among its values; give values of one type")
    match kinds.pop() if kinds else None:
        case _Kind.INT64:
            # True and False are numbers, too, though not to protobuf.
            return Feature(int64_list=Int64List(value=map(int, cast("list[int]", values))))
        case _Kind.FLOAT:
            return Feature(float_list=FloatList(value=[_float(value) for value in values]))
        case _Kind.BYTES:
            return Feature(bytes_list=BytesList(value=[to_bytes(value) for value in values]))
        case None:
            return Feature()


def _kind(value: Json) -> _Kind:
    if isinstance(value, int):
        if value not in _INT64 and value in _UINT64:
            raise ValueError("has a uint64 element; only int64 is supported")
        # Whole numbers past 64 bits are numbers like those with a point.
        return _Kind.INT64 if value in _INT64 else _Kind.FLOAT
    if isinstance(value, float):
        return _Kind.FLOAT
    if isinstance(value, str) or is_bytes(value):
        return _Kind.BYTES
    shown = {list: "a list in its list", dict: "an object", type(None): "null"}[type(value)]
    raise ValueError(f'has {shown}; give numbers, texts, true or false, or {{"b64": "…"}}')


def _float(value: Json) -> float:
    """Return a number; one past all floats is infinite, as one past the largest float32 becomes."""
    number = cast("float", value)
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
