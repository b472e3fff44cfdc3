"""ModelInferRequest and ModelInferResponse: raw and typed tensors, and what an answer echoes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.core.errors import InvalidRequest, UnreadableRequest
from headrace.consumer.formats.open_inference import OpenInference, Style
from headrace.consumer.formats.request import InferRequest
from headrace.consumer.platforms.platform import Array
from headrace.protos.open_inference_pb2 import (
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
)

Value: TypeAlias = Any
Tensor = ModelInferRequest.InferInputTensor

FORMAT = OpenInference("m", 7)
DTYPES: dict[str, tuple[Any, str, list[Any]]] = {
    "BOOL": (np.bool_, "bool_contents", [True, False, True]),
    "UINT8": (np.uint8, "uint_contents", [0, 1, 255]),
    "UINT16": (np.uint16, "uint_contents", [0, 1, 65535]),
    "UINT32": (np.uint32, "uint_contents", [0, 1, 2**32 - 1]),
    "UINT64": (np.uint64, "uint64_contents", [0, 1, 2**64 - 1]),
    "INT8": (np.int8, "int_contents", [-128, 0, 127]),
    "INT16": (np.int16, "int_contents", [-32768, 0, 32767]),
    "INT32": (np.int32, "int_contents", [-(2**31), 0, 2**31 - 1]),
    "INT64": (np.int64, "int64_contents", [-(2**63), 0, 2**63 - 1]),
    "FP16": (np.float16, "", [1.5, -2, np.inf]),
    "BF16": (ml_dtypes.bfloat16, "", [1.5, -2, 3]),
    "FP32": (np.float32, "fp32_contents", [1.5, -0.0, np.inf]),
    "FP64": (np.float64, "fp64_contents", [1.5, -2, 1e300]),
    "BYTES": (object, "bytes_contents", [b"a", b"", b"\xff" * 300]),
}
RAW = Style("", is_raw=True)
TYPED = Style("", is_raw=False)


def read(request: ModelInferRequest) -> tuple[InferRequest, Style]:
    """Return what a request says; it must be valid."""
    found = FORMAT.read(request.SerializeToString())
    assert not isinstance(found, InvalidRequest), found
    assert isinstance(found.style, Style)
    return found, found.style


def refusal(request: ModelInferRequest) -> InvalidRequest:
    """Return what is wrong with a request; something must be."""
    found = FORMAT.read(request.SerializeToString())
    assert isinstance(found, InvalidRequest)
    return found


def written(outputs: Mapping[str, Array], style: Style) -> ModelInferResponse:
    """Return the answer as a client sees it."""
    return ModelInferResponse.FromString(FORMAT.write("serving_default", outputs, style))


def tensor(
    datatype: str, shape: Sequence[int], /, name: str = "x", **contents: Value
) -> ModelInferRequest.InferInputTensor:
    """Return an input; with `contents`, a typed one."""
    filled = InferTensorContents(**contents) if contents else None
    return Tensor(name=name, datatype=datatype, shape=shape, contents=filled)


def raw(datatype: str, shape: Sequence[int], data: bytes) -> ModelInferRequest:
    """Return a request with one packed input."""
    return ModelInferRequest(inputs=[tensor(datatype, shape)], raw_input_contents=[data])


def as_request(answer: ModelInferResponse) -> ModelInferRequest:
    """Return a request whose inputs are the outputs of an answer: the fields are the same."""
    return ModelInferRequest(
        inputs=[Tensor.FromString(output.SerializeToString()) for output in answer.outputs],
        raw_input_contents=answer.raw_output_contents,
    )


@pytest.mark.parametrize("datatype", DTYPES)
@pytest.mark.parametrize("style", [RAW, TYPED])
def test_every_datatype_there_and_back(datatype: str, style: Style) -> None:
    """As a vector, a scalar, in more dimensions and empty, packed and typed."""
    dtype, field, elements = DTYPES[datatype]
    vector: npt.NDArray[Any] = np.array(elements, dtype)
    for array in (vector, vector.reshape(1, 3, 1), vector[1:2].reshape(()), vector[:0]):
        answer = written({"y": array}, style)
        assert answer.outputs[0].datatype == datatype
        assert bool(answer.raw_output_contents) == (style.is_raw or not field)
        request, _ = read(as_request(answer))
        assert request.inputs["y"].dtype == array.dtype
        np.testing.assert_array_equal(request.inputs["y"], array)


def test_reads_typed_fields_as_clients_write_them() -> None:
    """Each datatype in the field that the protocol gives it."""
    for datatype, (dtype, field, elements) in DTYPES.items():
        if field:
            typed = tensor(datatype, [3], "x", **{field: elements})
            request, style = read(ModelInferRequest(inputs=[typed]))
            np.testing.assert_array_equal(request.inputs["x"], np.array(elements, dtype))
            assert not style.is_raw


def test_reads_what_tritons_client_sends() -> None:
    """Bytes recorded from `tritonclient.grpc` 2.73."""
    recorded = bytes.fromhex(
        "0a016d1201331a027231221d0a1268656164726163655f7369676e617475726512071a05746f74616c"
        "2a0c0a01781204465033321a01022a0d0a0173120542595445531a010232030a0179"
        "3a080000803f000000403a0c010000006103000000626364"
    )
    found = FORMAT.read(recorded)
    assert not isinstance(found, InvalidRequest)
    signature, inputs, output_filter, style = found
    assert (signature, output_filter, style) == ("total", ("y",), Style("r1", is_raw=True))
    assert {alias: array.tolist() for alias, array in inputs.items()} == {
        "x": [1, 2],
        "s": [b"a", b"bcd"],
    }


def test_reads_packed_strings_and_numbers_as_clients_write_them() -> None:
    """Little-endian numbers, and strings after their length in 4 bytes."""
    request, style = read(raw("FP32", [2], b"\x00\x00\x80\x3f\x00\x00\x00\x40"))
    assert request.inputs["x"].tolist() == [1.0, 2.0]
    assert style.is_raw
    request, _ = read(raw("BYTES", [2], b"\x01\x00\x00\x00a\x00\x00\x00\x00"))
    assert request.inputs["x"].tolist() == [b"a", b""]


def test_answer_is_packed_unless_the_request_has_typed_tensors() -> None:
    """A request without inputs is answered so that every client can read it."""
    assert read(ModelInferRequest())[1].is_raw
    assert read(raw("FP32", [0], b""))[1].is_raw
    assert not read(ModelInferRequest(inputs=[tensor("INT8", [1], int_contents=[1])]))[1].is_raw


def test_answer_says_model_version_and_id() -> None:
    """The version is the one that answered, whatever the request named."""
    _, style = read(ModelInferRequest(model_version="", id="r-ä"))
    answer = written({"y": np.zeros(1, np.float32)}, style)
    assert (answer.model_name, answer.model_version, answer.id) == ("m", "7", "r-ä")


def test_outputs_keep_their_order_with_their_packed_bytes() -> None:
    """A client finds the bytes of an output by its place."""
    outputs: dict[str, Array] = {
        "b": np.array([1, 2], np.int32),
        "a": np.zeros((0, 3)),
        "c": np.array(5, np.uint8),
    }
    answer = written(outputs, RAW)
    assert [output.name for output in answer.outputs] == ["b", "a", "c"]
    assert [len(entry) for entry in answer.raw_output_contents] == [8, 0, 1]


def test_one_half_output_makes_the_whole_answer_packed() -> None:
    """An answer must not mix packed and typed tensors."""
    outputs: dict[str, Array] = {"half": np.zeros(2, np.float16), "full": np.zeros(2, np.float32)}
    answer = written(outputs, TYPED)
    assert len(answer.raw_output_contents) == 2
    assert not any(output.HasField("contents") for output in answer.outputs)


def test_output_that_the_protocol_cannot_carry_is_named() -> None:
    """Complex numbers have no datatype."""
    for style in (RAW, TYPED):
        with pytest.raises(ValueError, match="output 'y' has dtype complex64"):
            FORMAT.write("serving_default", {"y": np.zeros(1, np.complex64)}, style)


def test_requested_outputs_are_the_filter() -> None:
    """In the order of the request; none means all."""
    request = ModelInferRequest(outputs=[{"name": "b"}, {"name": "a"}])
    assert read(request)[0].output_filter == ("b", "a")
    assert read(ModelInferRequest())[0].output_filter == ()


def test_signature_is_a_parameter() -> None:
    """The protocol has no place for it; parameters of other servers are left alone."""
    request = ModelInferRequest()
    request.parameters["priority"].int64_param = 1
    assert read(request)[0].signature == ""
    request.parameters["headrace_signature"].string_param = "total"
    assert read(request)[0].signature == "total"


def with_parameter(name: str, **value: Value) -> ModelInferRequest:
    """Return a request with one parameter."""
    return ModelInferRequest(parameters={name: value})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]


BAD: list[tuple[ModelInferRequest, str]] = [
    (raw("FP32", [2], b"1234567"), "x: it has 7 packed bytes; FP32 .2. takes 8"),
    (raw("FP32", [-1], b""), "negative dimension"),
    (raw("FP32", [1] * 65, b"1234"), "65 dimensions"),
    (raw("FP32", [0, 2**62, 2**62], b""), "too large"),
    (raw("FP8", [1], b"1"), "datatype 'FP8' is not one of BOOL, UINT8"),
    (raw("BOOL", [1], b"\x02"), "other than 0 and 1"),
    (raw("BYTES", [1], b"\x01\x00"), "ends within a length"),
    (raw("BYTES", [1], b"\x02\x00\x00\x00a"), "ends within a string"),
    (raw("BYTES", [2], b"\x01\x00\x00\x00a"), "has 1 strings; its shape takes 2"),
    (
        ModelInferRequest(
            inputs=[tensor("INT8", [1], int_contents=[1])], raw_input_contents=[b"1"]
        ),
        "contents beside raw_input_contents",
    ),
    (
        ModelInferRequest(inputs=[tensor("INT8", [1])], raw_input_contents=[b"1", b"2"]),
        "has 2 entries for 1 inputs",
    ),
    (
        ModelInferRequest(inputs=[tensor("INT8", [1]), tensor("INT8", [1], "y")]),
        "int_contents has 0 values",
    ),
    (ModelInferRequest(inputs=[tensor("FP16", [1])]), "FP16 has no typed field"),
    (
        ModelInferRequest(inputs=[tensor("FP32", [1], fp64_contents=[1])]),
        "FP32 belongs in fp32_contents, and fp64_contents is set",
    ),
    (
        ModelInferRequest(inputs=[tensor("INT8", [1], int_contents=[128])]),
        "out of the range of INT8",
    ),
    (
        ModelInferRequest(inputs=[tensor("UINT8", [1], uint_contents=[256])]),
        "out of the range of UINT8",
    ),
    (
        ModelInferRequest(inputs=[tensor("INT8", [0]), tensor("INT8", [0])]),
        "input 'x' is there twice",
    ),
    (with_parameter("headrace_signature", int64_param=1), "must be a string_param"),
    (with_parameter("headrace_version", int64_param=1), "'headrace_version' is not known"),
    (
        ModelInferRequest(
            inputs=[{"name": "x", "parameters": {"shared_memory_region": {"string_param": "r"}}}]
        ),
        "input 'x' has the parameter shared_memory_region",
    ),
    (
        ModelInferRequest(
            outputs=[{"name": "y", "parameters": {"classification": {"int64_param": 3}}}]
        ),
        "output 'y' has the parameter classification",
    ),
]


@pytest.mark.parametrize(("request_", "words"), BAD)
def test_says_what_is_wrong(request_: ModelInferRequest, words: str) -> None:
    """What breaks a rule of the protocol is refused in words, and is no dead letter."""
    error = refusal(request_)
    assert not isinstance(error, UnreadableRequest)
    with pytest.raises(InvalidRequest, match=words):
        raise error


def test_bytes_that_are_no_message_are_unreadable() -> None:
    """They can be a dead letter."""
    assert isinstance(FORMAT.read(b"\xff" * 9), UnreadableRequest)


DATATYPES = st.sampled_from(sorted(DTYPES))


@given(
    datatype=DATATYPES,
    dims=st.lists(st.integers(-1, 3), max_size=3),
    data=st.binary(max_size=60),
    has_raw=st.booleans(),
)
def test_any_tensor_is_an_array_or_a_refusal(
    datatype: str, dims: list[int], data: bytes, has_raw: bool
) -> None:
    """Nothing else may come out, whatever the fields hold."""
    contents = InferTensorContents()
    if not has_raw:
        try:
            contents.ParseFromString(data)
        except Exception:
            return
    request = ModelInferRequest(
        inputs=[Tensor(name="x", datatype=datatype, shape=dims, contents=contents)],
        raw_input_contents=[data] if has_raw else [],
    )
    found = FORMAT.read(request.SerializeToString())
    if not isinstance(found, InvalidRequest):
        assert list(found.inputs["x"].shape) == dims


@given(
    arrays=st.dictionaries(
        st.text(max_size=5),
        st.tuples(DATATYPES, st.lists(st.integers(0, 3), max_size=3), st.randoms()),
        max_size=3,
    ),
    id_=st.text(max_size=5),
    is_raw=st.booleans(),
)
def test_outputs_come_back_as_they_were(
    arrays: dict[str, tuple[str, list[int], Any]], id_: str, is_raw: bool
) -> None:
    """For any names, datatypes, shapes and id, packed and typed."""
    outputs: dict[str, Array] = {}
    for alias, (datatype, dims, chance) in arrays.items():
        dtype, _field, elements = DTYPES[datatype]
        picked = np.array([chance.choice(elements) for _ in range(int(np.prod(dims)))], dtype)
        outputs[alias] = picked.reshape(dims)
    answer = written(outputs, Style(id_, is_raw))
    request, _ = read(as_request(answer))
    assert answer.id == id_
    assert list(request.inputs) == list(outputs)
    for alias, array in outputs.items():
        assert request.inputs[alias].dtype == array.dtype
        np.testing.assert_array_equal(request.inputs[alias], array)
