"""Requests that mean harm: ill-formed in every field, damaged, or any bytes at all."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import Message
from hypothesis import strategies as st

from headrace.consumer.core.calls import Encoding
from headrace.consumer.formats.open_inference import SIGNATURE_PARAMETER
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
from tests.fuzz.damage import damaged
from tests.fuzz.hostile_json import examples_json, infer_json, predict_json
from tests.fuzz.values import DATATYPES, floats, int64s, names, shapes, signatures


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

_FEATURES: Final = st.one_of(
    _listed(st.binary(max_size=4)).map(lambda v: Feature(bytes_list=BytesList(value=v))),
    _listed(floats).map(lambda v: Feature(float_list=FloatList(value=v))),
    _listed(int64s).map(lambda v: Feature(int64_list=Int64List(value=v))),
)
_EXAMPLE: Final = st.dictionaries(names, _FEATURES, max_size=2).map(
    lambda features: Example(features=Features(feature=features)).SerializeToString()
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


def hostile(encoding: Encoding) -> st.SearchStrategy[bytes]:
    """Return payloads of an encoding: any bytes, ill-formed requests, and damaged ones."""
    structured = STRUCTURED[encoding]
    return st.one_of(structured, damaged(structured), st.binary(max_size=64))
