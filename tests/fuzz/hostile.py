"""Requests that mean harm, or come damaged: structured ones, mutations of good ones, and bombs."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from google.protobuf.message import Message
from hypothesis import strategies as st

from headrace.consumer.core.calls import Encoding
from headrace.consumer.formats.open_inference import SIGNATURE_PARAMETER
from headrace.consumer.formats.wire import delimited, varint
from headrace.protos.open_inference_pb2 import (
    InferParameter,
    InferTensorContents,
    ModelInferRequest,
)
from headrace.protos.routing_pb2 import ExamplesRequest
from headrace.protos.tensorflow_pb2 import (
    BytesList,
    Example,
    Feature,
    Features,
    FloatList,
    Int64List,
    TensorProto,
    TensorShapeProto,
)
from headrace.protos.tensorflow_serving_pb2 import ModelSpec, PredictRequest
from headrace.schemas import codec
from headrace.schemas.records import InferenceRequest, Tensor
from headrace.schemas.tensors import NUMPY_DTYPES
from tests.fuzz.everything import Everything

SIZES: Final = (0, 1, 2, 3, -1, 2**31, 2**40, 2**62, 2**63 - 1)
NAMES: Final = ("x", "a", "b", "inputs", "", "é", "n" * 300)
SIGNATURES: Final = (*Everything.signatures, "", "nope", "é" * 50)

names = st.sampled_from(NAMES)
signatures = st.sampled_from(SIGNATURES)
shapes = st.one_of(
    st.lists(st.integers(0, 3), max_size=3),
    st.lists(st.sampled_from(SIZES), max_size=5),
    st.just([1] * 70),
)
int64s = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(width=32)

# --- protobuf ---


def _listed(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, max_size=4)


_TENSOR_FIELDS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "tensor_content": st.binary(max_size=32),
    "half_val": _listed(st.integers(-(2**31), 2**31 - 1)),
    "float_val": _listed(floats),
    "double_val": _listed(st.floats()),
    "int_val": _listed(st.integers(-(2**31), 2**31 - 1)),
    "string_val": _listed(st.binary(max_size=4)),
    "scomplex_val": _listed(floats),
    "int64_val": _listed(int64s),
    "bool_val": _listed(st.booleans()),
    "dcomplex_val": _listed(st.floats()),
    "uint32_val": _listed(st.integers(0, 2**32 - 1)),
    "uint64_val": _listed(st.integers(0, 2**64 - 1)),
}


@st.composite
def tensor_protos(draw: st.DrawFn) -> TensorProto:
    """Return a TensorProto with any of its fields, which seldom belong together."""
    some = draw(st.lists(st.sampled_from(sorted(_TENSOR_FIELDS)), max_size=2, unique=True))
    fields: Any = {field: draw(_TENSOR_FIELDS[field]) for field in some}
    return TensorProto(
        dtype=draw(st.integers(0, 24) | st.sampled_from([101, 2**31 - 1, -1])),  # type: ignore[arg-type]
        tensor_shape=TensorShapeProto(
            dim=[TensorShapeProto.Dim(size=size) for size in draw(shapes)],
            unknown_rank=draw(st.booleans()) and draw(st.booleans()),
        ),
        **fields,
    )


def specs() -> st.SearchStrategy[ModelSpec]:
    """Return a model spec, whole or not."""
    return st.builds(ModelSpec, name=st.sampled_from(["m", ""]), signature_name=signatures)


predict = st.builds(
    PredictRequest,
    model_spec=specs(),
    inputs=st.dictionaries(names, tensor_protos(), max_size=3),
    output_filter=st.lists(names, max_size=3),
)

_CONTENTS: Final = st.fixed_dictionaries(
    {},
    optional={
        "bool_contents": _listed(st.booleans()),
        "int_contents": _listed(st.integers(-(2**31), 2**31 - 1)),
        "int64_contents": _listed(int64s),
        "uint_contents": _listed(st.integers(0, 2**32 - 1)),
        "uint64_contents": _listed(st.integers(0, 2**64 - 1)),
        "fp32_contents": _listed(floats),
        "fp64_contents": _listed(st.floats()),
        "bytes_contents": _listed(st.binary(max_size=4)),
    },
)
DATATYPES: Final = (
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "BF16", "FP32", "FP64", "BYTES", "", "fp32", "X" * 200),
)
_PARAMETERS: Final = st.dictionaries(
    st.sampled_from(
        [SIGNATURE_PARAMETER, "headrace_x", "timeout", "classification", "binary_data"]
    ),
    st.one_of(
        st.builds(InferParameter, bool_param=st.booleans()),
        st.builds(InferParameter, int64_param=int64s),
        st.builds(InferParameter, string_param=signatures),
        st.just(InferParameter()),
    ),
    max_size=2,
)
infer = st.builds(
    ModelInferRequest,
    model_name=st.sampled_from(["m", ""]),
    model_version=st.sampled_from(["", "1", "0", "9" * 40, "stable", "-1"]),
    id=st.sampled_from(["", "7", "é", "i" * 200]),
    parameters=_PARAMETERS,
    inputs=st.lists(
        st.builds(
            ModelInferRequest.InferInputTensor,
            name=names,
            datatype=st.sampled_from(DATATYPES),
            shape=shapes,
            parameters=_PARAMETERS,
            contents=st.none() | _CONTENTS.map(lambda fields: InferTensorContents(**fields)),
        ),
        max_size=3,
    ),
    outputs=st.lists(
        st.builds(ModelInferRequest.InferRequestedOutputTensor, name=names, parameters=_PARAMETERS),
        max_size=2,
    ),
    raw_input_contents=st.lists(st.binary(max_size=32), max_size=3),
)

_EXAMPLE: Final = st.builds(
    lambda features: Example(features=Features(feature=features)).SerializeToString(),
    st.dictionaries(
        names,
        st.one_of(
            st.builds(
                lambda v: Feature(bytes_list=BytesList(value=v)), _listed(st.binary(max_size=4))
            ),
            st.builds(lambda v: Feature(float_list=FloatList(value=v)), _listed(floats)),
            st.builds(lambda v: Feature(int64_list=Int64List(value=v)), _listed(int64s)),
        ),
        max_size=2,
    ),
)
_EXAMPLES: Final = st.builds(
    ExamplesRequest.Examples,
    examples=st.lists(_EXAMPLE | st.binary(max_size=8), max_size=3),
    context=st.binary(max_size=8),
)
examples = st.builds(
    ExamplesRequest,
    model_spec=specs(),
    input=st.one_of(
        st.builds(ExamplesRequest.Input, example_list=_EXAMPLES),
        st.builds(ExamplesRequest.Input, example_list_with_context=_EXAMPLES),
        st.none(),
    ),
)


def encoded(messages: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Return messages as bytes."""

    def serialised(message: Message) -> bytes:
        return message.SerializeToString()

    return messages.map(serialised)


# --- Avro ---

avro = st.builds(
    InferenceRequest,
    model=st.sampled_from(["m", ""]),
    version=st.none() | int64s,
    label=st.none() | st.sampled_from(["stable", ""]),
    signature=signatures,
    output_filter=st.lists(names, max_size=3),
    inputs=st.lists(
        st.builds(
            Tensor,
            name=names,
            dtype=st.sampled_from([*NUMPY_DTYPES, "string", "", "object", "float128"]),
            shape=shapes,
            data=st.binary(max_size=32),
            strings=st.lists(st.binary(max_size=4), max_size=3),
        ),
        max_size=3,
    ),
).map(codec.encode)

# --- JSON ---

# Bare words stand for what `json.dumps` cannot write.
_TEXTS: Final = st.one_of(
    st.sampled_from(["", "é", "\ud800", "\udfff", "a" * 300]), st.text(max_size=3)
)
_LEAVES: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**63, -(2**63) - 1, 2**64, 10**400]),
    st.floats(),
    _TEXTS,
    st.builds(lambda text: {"b64": text}, st.sampled_from(["", "aGk=", "a", "é", "\ud800"])),
)
_VALUES: Final = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | _TEXTS, inner, max_size=2),
    max_leaves=8,
)
_MATRICES: Final = st.lists(st.lists(_LEAVES, min_size=1, max_size=2), min_size=1, max_size=3)
_NAMED: Final = st.dictionaries(names, _VALUES | _MATRICES, max_size=2)


def _body(fields: object) -> bytes:
    return json.dumps(fields).encode()


predict_json = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": signatures | _VALUES,
        "instances": _VALUES | _MATRICES | st.lists(_NAMED, max_size=3),
        "inputs": _VALUES | _MATRICES | _NAMED,
    },
).map(_body)
examples_json = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": signatures | _VALUES,
        "context": _VALUES | _NAMED,
        "examples": _VALUES | st.lists(_NAMED, max_size=3),
    },
).map(_body)

_JSON_PARAMETERS: Final = st.dictionaries(
    st.sampled_from(
        [SIGNATURE_PARAMETER, "headrace_x", "binary_data", "binary_data_size", "binary_data_output"]
    ),
    st.sampled_from([True, False, 0, 4, 8, -1, 2**63, 1.5, "", "two", "nope"]),
    max_size=2,
)
_JSON_INPUT: Final = st.fixed_dictionaries(
    {"name": names, "shape": shapes, "datatype": st.sampled_from(DATATYPES)},
    optional={"data": _VALUES | _MATRICES, "parameters": _JSON_PARAMETERS},
)


def framed(text: bytes, packed: bytes = b"", length: int | None = None) -> bytes:
    """Return the frame of a JSON infer request."""
    return struct.pack("<I", len(text) if length is None else length) + text + packed


infer_json = st.builds(
    lambda fields, packed: framed(_body(fields), packed),
    st.fixed_dictionaries(
        {"inputs": st.lists(_JSON_INPUT, max_size=3) | _VALUES},
        optional={
            "id": _TEXTS | st.integers(),
            "parameters": _JSON_PARAMETERS | _VALUES,
            "outputs": st.lists(
                st.fixed_dictionaries({"name": names}, optional={"parameters": _JSON_PARAMETERS}),
                max_size=2,
            ),
        },
    ),
    st.binary(max_size=16),
)

STRUCTURED: Final[dict[Encoding, st.SearchStrategy[bytes]]] = {
    Encoding.AVRO: avro,
    Encoding.TENSORFLOW_SERVING: encoded(predict),
    Encoding.OPEN_INFERENCE: encoded(infer),
    Encoding.CLASSIFICATION: encoded(examples),
    Encoding.REGRESSION: encoded(examples),
    Encoding.TENSORFLOW_JSON: predict_json,
    Encoding.CLASSIFICATION_JSON: examples_json,
    Encoding.REGRESSION_JSON: examples_json,
    Encoding.OPEN_INFERENCE_JSON: infer_json,
}

# --- damage ---


def fields_of(message: bytes) -> list[bytes] | None:
    """Return the fields of a protobuf message, each with its tag; None when it is none."""
    found: list[bytes] = []
    place = 0
    while place < len(message):
        start = place
        tag, place = _number(message, place)
        match tag & 7:
            case 0:
                _, place = _number(message, place)
            case 1:
                place += 8
            case 2:
                length, place = _number(message, place)
                place += length
            case 5:
                place += 4
            case _:
                return None
        if place > len(message):
            return None
        found.append(message[start:place])
    return found


def _number(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(message):
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, place
    return value, len(message) + 1


def _flipped(draw: st.DrawFn, payload: bytes) -> bytes:
    changed = bytearray(payload)
    for place in draw(st.lists(st.integers(0, 8 * len(payload) - 1), min_size=1, max_size=4)):
        changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def _cut(draw: st.DrawFn, payload: bytes) -> bytes:
    return payload[: draw(st.integers(0, len(payload) - 1))]


def _repeated(draw: st.DrawFn, payload: bytes) -> bytes:
    start = draw(st.integers(0, len(payload) - 1))
    stop = draw(st.integers(start, min(len(payload), start + 16)))
    return payload[:start] + payload[start:stop] * draw(st.integers(2, 20)) + payload[stop:]


def _huge(draw: st.DrawFn, payload: bytes) -> bytes:
    """Put an enormous number, or one that never ends, in place of a byte."""
    place = draw(st.integers(0, len(payload) - 1))
    number = draw(
        st.sampled_from([varint(2**31), varint(2**63), b"\xff" * 9 + b"\x01", b"\xff" * 40])
    )
    return payload[:place] + number + payload[place + 1 :]


def _reordered(draw: st.DrawFn, payload: bytes) -> bytes:
    fields = fields_of(payload)
    if not fields:
        return payload[::-1]
    picked = draw(st.lists(st.sampled_from(fields), max_size=2 * len(fields)))
    return b"".join(picked)


def _nested(draw: st.DrawFn, payload: bytes) -> bytes:
    """Wrap the payload in a field of its own kind, over and over; JSON in lists."""
    depth = draw(st.sampled_from([1, 3, 120, 1200]))
    if payload[:1] == b"{":
        return b'{"inputs":' + b"[" * depth + payload + b"]" * depth + b"}"
    number = draw(st.integers(1, 7))
    for _ in range(min(depth, 200)):
        payload = delimited(number, payload)
    return payload


_DAMAGES: Final[Sequence[Callable[[st.DrawFn, bytes], bytes]]] = (
    _flipped,
    _cut,
    _repeated,
    _huge,
    _reordered,
    _nested,
)


@st.composite
def damaged(draw: st.DrawFn, payloads: st.SearchStrategy[bytes]) -> bytes:
    """Return a payload with one to three damages."""
    payload = draw(payloads)
    for damage in draw(st.lists(st.sampled_from(_DAMAGES), min_size=1, max_size=3)):
        if payload:
            payload = damage(draw, payload)
    return payload


def hostile(encoding: Encoding) -> st.SearchStrategy[bytes]:
    """Return payloads of an encoding: any bytes, ill-formed requests, and damaged ones."""
    structured = STRUCTURED[encoding]
    return st.one_of(structured, damaged(structured), st.binary(max_size=64))
