"""What content types mean to the Kafka door."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.core.calls import Encoding
from headrace.consumer.core.codes import Code
from headrace.consumer.stream.content import ACCEPTED, DEFAULT, Headers, content_of
from headrace.protos.open_inference_pb2 import ModelInferRequest
from headrace.protos.rpc_status_pb2 import Status
from headrace.protos.tensorflow_serving_pb2 import PredictRequest
from headrace.schemas import codec
from headrace.schemas.errors import WireError
from headrace.schemas.records import InferenceRequest, InferenceResponse, Route

PREDICT = b"application/x-protobuf;proto=tensorflow.serving.PredictRequest"
INFER = b"application/x-protobuf;proto=inference.ModelInferRequest"
JSON = b"application/json"

TYPES: list[tuple[bytes | None, Encoding, bytes | None]] = [
    (None, Encoding.AVRO, None),
    (b"application/vnd.headrace.avro", Encoding.AVRO, b"application/vnd.headrace.avro"),
    (b"Avro/Binary", Encoding.AVRO, b"avro/binary"),
    (
        PREDICT,
        Encoding.TENSORFLOW_SERVING,
        b"application/x-protobuf;proto=tensorflow.serving.PredictResponse",
    ),
    (
        b'application/X-Protobuf ; charset=binary; Proto="tensorflow.serving.PredictRequest"',
        Encoding.TENSORFLOW_SERVING,
        b"application/x-protobuf;proto=tensorflow.serving.PredictResponse",
    ),
    (
        b"application/protobuf; proto=inference.ModelInferRequest",
        Encoding.OPEN_INFERENCE,
        b"application/x-protobuf;proto=inference.ModelInferResponse",
    ),
    (b"APPLICATION/JSON; charset=utf-8", Encoding.TENSORFLOW_JSON, JSON),
]


@pytest.mark.parametrize(("header", "encoding", "answer_type"), TYPES)
def test_content_type_names_the_encoding_and_the_type_of_answers(
    header: bytes | None, encoding: Encoding, answer_type: bytes | None
) -> None:
    """Case, spaces, quotes and further parameters do not matter."""
    content = content_of(header)
    assert (content.encoding, content.answer_type) == (encoding, answer_type)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"text/plain",
        b"application/x-protobuf",
        b"application/x-protobuf;proto=tensorflow.serving.ClassificationRequest",
        b"\xff\xfe",
        b"application/json/x",
    ],
)
def test_unknown_type_is_refused_with_the_accepted_ones(header: bytes) -> None:
    """The sender learns what would have been understood."""
    with pytest.raises(WireError) as raised:
        content_of(header)
    for accepted in ACCEPTED:
        assert accepted in str(raised.value)
        assert content_of(accepted.encode())


def test_overlong_type_is_refused_and_not_shown() -> None:
    """A megabyte of header does not come back in the answer."""
    with pytest.raises(WireError, match="has 1048576 bytes"):
        content_of(b"x" * 2**20)


def test_avro_route_is_read_from_the_value() -> None:
    """As it is without any header."""
    value = codec.encode(InferenceRequest(model="m", label="stable"))
    for header in (None, b"avro/binary"):
        assert content_of(header).read_route(value, {}) == Route("m", label="stable")


def test_predict_request_route_is_read_from_its_model_spec() -> None:
    """Version and label alike."""
    request = PredictRequest()
    request.model_spec.name = "m"
    read = content_of(PREDICT).read_route
    assert read(request.SerializeToString(), {}) == Route("m")
    request.model_spec.version.value = 7
    assert read(request.SerializeToString(), {}) == Route("m", version=7)
    request.model_spec.version_label = "stable"
    assert read(request.SerializeToString(), {}) == Route("m", label="stable")


@given(
    model=st.text(min_size=1, max_size=200),
    version=st.one_of(st.integers(1, 2**63 - 1), st.text(max_size=200), st.none()),
    id_=st.text(max_size=5),
    raw=st.binary(max_size=40),
)
def test_infer_request_route_is_what_its_fields_say(
    model: str, version: int | str | None, id_: str, raw: bytes
) -> None:
    """Digits are a version, other text a label, nothing neither."""
    text = "" if version is None else str(version)
    request = ModelInferRequest(
        model_name=model, model_version=text, id=id_, raw_input_contents=[raw]
    )
    expected = Route(model)
    if text.isascii() and text.isdigit():
        expected = Route(model, version=int(text))
        if not 0 < int(text) < 2**63:
            with pytest.raises(WireError, match="is no version"):
                content_of(INFER).read_route(request.SerializeToString(), {})
            return
    elif text:
        expected = Route(model, label=text)
    assert content_of(INFER).read_route(request.SerializeToString(), {}) == expected


def test_infer_request_fields_may_come_in_any_order() -> None:
    """An encoder need not write the model's name first."""
    front = ModelInferRequest(raw_input_contents=[b"x" * 300]).SerializeToString()
    back = ModelInferRequest(model_name="m", model_version="3").SerializeToString()
    read = content_of(INFER).read_route
    assert read(front + back, {}) == Route("m", version=3)
    assert read(back + front, {}) == Route("m", version=3)


def test_json_route_is_in_headers() -> None:
    """The body has none, as the REST path has it."""
    read = content_of(JSON).read_route
    assert read(b"", {"model": b"m"}) == Route("m")
    assert read(b"", {"model": b"m", "version": b"12"}) == Route("m", version=12)
    assert read(b"", {"model": b"m", "label": b"stable"}) == Route("m", label="stable")


NO_ROUTE: list[tuple[bytes | None, bytes, Headers, str]] = [
    (None, b"", {}, "no bytes where headrace.InferenceRequest was expected"),
    (PREDICT, PredictRequest(output_filter=["y"]).SerializeToString(), {}, "Missing ModelSpec"),
    (PREDICT, b"\xff" * 9, {}, "not a PredictRequest"),
    (INFER, ModelInferRequest(model_version="1").SerializeToString(), {}, "set model_name"),
    (INFER, b"\xff" * 9, {}, "not a ModelInferRequest"),
    (JSON, b"{}", {}, "header 'model'"),
    (JSON, b"{}", {"model": None}, "header 'model'"),
    (JSON, b"{}", {"model": b"m", "version": b"1", "label": b"a"}, "exclude each other"),
    (JSON, b"{}", {"model": b"m", "version": b"one"}, "version 'one' is no version"),
    (JSON, b"{}", {"model": b"m", "version": "٣".encode()}, "is no version"),
    (JSON, b"{}", {"model": b"m", "version": b"9" * 5000}, "is no version"),
    (JSON, b"{}", {"model": b"m\xff"}, "UTF-8"),
]


@pytest.mark.parametrize(("header", "value", "headers", "words"), NO_ROUTE)
def test_value_without_a_route_is_refused_in_words(
    header: bytes | None, value: bytes, headers: Headers, words: str
) -> None:
    """Whatever the format, what is wrong is a WireError."""
    with pytest.raises(WireError, match=words):
        content_of(header).read_route(value, headers)


@given(st.sampled_from([None, PREDICT, INFER]), st.binary(max_size=100))
def test_any_bytes_give_a_route_or_a_refusal(header: bytes | None, value: bytes) -> None:
    """No value of a stranger raises anything but a WireError."""
    try:
        route = content_of(header).read_route(value, {})
    except WireError:
        return
    assert isinstance(route, Route)


def test_avro_error_is_a_response_with_an_error() -> None:
    """Code, words, model and version are in it."""
    value, content_type = DEFAULT.encode_error(Code.NOT_FOUND, "no ä", "m", 7)
    response = codec.decode(value, InferenceResponse)
    assert content_type is None
    assert response.error
    assert (response.model, response.version) == ("m", 7)
    assert (response.error.code, response.error.message) == ("NOT_FOUND", "no ä")


@pytest.mark.parametrize("header", [PREDICT, INFER])
def test_protobuf_error_is_a_status(header: bytes) -> None:
    """PredictResponse and ModelInferResponse have no field for an error."""
    value, content_type = content_of(header).encode_error(Code.NOT_FOUND, "no ä", "m", None)
    assert content_type == b"application/x-protobuf;proto=google.rpc.Status"
    assert Status.FromString(value) == Status(code=5, message="no ä")


def test_json_error_is_tensorflow_servings() -> None:
    """An object with the one key `error`."""
    value, content_type = content_of(JSON).encode_error(Code.NOT_FOUND, 'no "ä"', "m", None)
    assert content_type == JSON
    assert json.loads(value) == {"error": 'no "ä"'}
