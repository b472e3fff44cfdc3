"""The head of a ModelInferRequest, and what a door adds to the answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.core.calls import Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import InvalidRequest, UnreadableRequest
from headrace.consumer.formats.infer_head import read_infer_head, refused_in_stream, streamed
from headrace.consumer.formats.routes import infer_route_of
from headrace.protos.open_inference_pb2 import (
    InferParameter,
    ModelInferRequest,
    ModelInferResponse,
    ModelStreamInferResponse,
)
from headrace.schemas.records import Route

NAMES = st.text(min_size=1, max_size=200)
PARAMETERS = st.dictionaries(
    st.text(max_size=200).filter(lambda name: name != "timeout"),
    st.builds(InferParameter, string_param=st.text(max_size=200)),
    max_size=3,
)


def request_for(model: str = "m", /, **fields: Any) -> ModelInferRequest:  # noqa: ANN401 - any field
    """Return a request as a client builds it."""
    request = ModelInferRequest(model_name=model, **fields)
    request.inputs.add(name="x", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(b"\x01\x00\x00\x00a")
    return request


@given(
    model=NAMES,
    version=st.sampled_from(["", "7", "stable", "s" * 130]),
    name=st.text(max_size=200),
    parameters=PARAMETERS,
)
def test_takes_the_id_off_and_gives_it_back(
    model: str, version: str, name: str, parameters: dict[str, InferParameter]
) -> None:
    """Whatever the lengths, what goes to the worker and what it answers are whole with the id."""
    request = request_for(model, model_version=version, id=name, parameters=parameters)
    head = read_infer_head(request.SerializeToString())
    assert head.route == infer_route_of(model, version)
    assert head.timeout_seconds is None
    assert ModelInferRequest.FromString(head.id + head.payload) == request
    passed_on = ModelInferRequest.FromString(head.payload)
    answer = ModelInferResponse(model_name=model, id=passed_on.id).SerializeToString()
    assert ModelInferResponse.FromString(head.id + answer).id == name
    if name.isascii() and len(name) < 128:
        assert not passed_on.id


def test_requests_that_differ_in_the_id_only_become_equal() -> None:
    """That is what the worker can read at once."""
    heads = [read_infer_head(request_for(id=name).SerializeToString()) for name in ("", "a", "bcd")]
    assert len({head.payload for head in heads}) == 1


def test_id_that_comes_twice_is_the_last() -> None:
    """Protobuf's rule for a field that is no list."""
    encoded = ModelInferRequest(model_name="m", id="first").SerializeToString()
    head = read_infer_head(encoded + ModelInferRequest(id="last").SerializeToString())
    assert ModelInferRequest.FromString(head.id + head.payload).id == "last"


@pytest.mark.parametrize(
    ("microseconds", "seconds"), [(0, None), (1, 1e-6), (2_500_000, 2.5), (2**63 - 1, 2**63 / 1e6)]
)
@given(parameters=PARAMETERS)
def test_timeout_is_in_microseconds(
    parameters: dict[str, InferParameter], microseconds: int, seconds: float | None
) -> None:
    """Wherever it stands among other parameters; 0 is none."""
    given_ = {**parameters, "timeout": InferParameter(int64_param=microseconds)}
    head = read_infer_head(request_for(parameters=given_).SerializeToString())
    assert head.timeout_seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        InferParameter(int64_param=-1),
        InferParameter(double_param=1.0),
        InferParameter(string_param="1"),
        InferParameter(),
    ],
)
def test_timeout_that_is_none_is_refused(value: InferParameter) -> None:
    """Not to be taken for no bound at all."""
    with pytest.raises(InvalidRequest, match="timeout must be an int64_param of microseconds"):
        read_infer_head(request_for(parameters={"timeout": value}).SerializeToString())


def test_field_that_is_cut_off_is_unreadable() -> None:
    """A head that does not end is no head."""
    whole = ModelInferRequest(
        model_name="m", id="i" * 20, parameters={"p": InferParameter(string_param="v" * 20)}
    ).SerializeToString()
    for end in range(4, len(whole)):
        # Of some, what is left is a shorter request.
        try:
            read_infer_head(whole[:end])
        except UnreadableRequest:
            continue
        ModelInferRequest.FromString(whole[:end])


@given(st.binary(max_size=300))
def test_any_bytes_give_a_head_or_a_refusal(data: bytes) -> None:
    """No input of a stranger may raise anything else."""
    for request in (data, b"\x0a\x01m" + data):
        try:
            head = read_infer_head(request)
        except InvalidRequest:
            continue
        assert head.route.model


def test_answer_in_a_stream_is_the_answer_with_a_mark() -> None:
    """All fields of it, however long."""
    answer = ModelInferResponse(model_name="m", id="i", raw_output_contents=[b"1" * 300])
    found = ModelStreamInferResponse.FromString(streamed(answer.SerializeToString()))
    assert found.error_message == ""
    assert found.infer_response.parameters["triton_final_response"].bool_param
    del found.infer_response.parameters["triton_final_response"]
    assert found.infer_response == answer


def test_refusal_in_a_stream_says_which_request_it_is_for() -> None:
    """By model, version and id, with the code beside the words."""
    request = request_for("m", model_version="7", id="i").SerializeToString()
    refused = refused_in_stream(request, Fault(Code.NOT_FOUND, "there is none"))
    found = ModelStreamInferResponse.FromString(refused)
    response = found.infer_response
    assert found.error_message == "there is none"
    assert (response.model_name, response.model_version, response.id) == ("m", "7", "i")
    assert response.parameters["headrace_code"].string_param == "NOT_FOUND"
    assert response.parameters["triton_final_response"].bool_param


def test_refusal_of_bytes_that_are_no_request_names_none() -> None:
    """There is nothing to name."""
    found = ModelStreamInferResponse.FromString(
        refused_in_stream(b"\xff", Fault(Code.INVALID_ARGUMENT, "no"))
    )
    assert (found.error_message, found.infer_response.id) == ("no", "")


@pytest.mark.parametrize(
    ("version", "route"),
    [
        ("", Route("m")),
        ("7", Route("m", version=7)),
        ("007", Route("m", version=7)),
        ("stable", Route("m", label="stable")),
        ("7a", Route("m", label="7a")),
        ("-1", Route("m", label="-1")),
        ("²", Route("m", label="²")),
    ],
)
def test_version_in_digits_is_a_number_and_other_text_a_label(version: str, route: Route) -> None:
    """Triton's clients have one field for both."""
    assert infer_route_of("m", version) == route
    assert read_infer_head(request_for(model_version=version).SerializeToString()).route == route
