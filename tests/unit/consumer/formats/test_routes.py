"""Reading the route of a request from its bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.core.errors import InvalidRequest, UnreadableRequest
from headrace.consumer.formats.routes import read_predict_route
from headrace.protos.tensorflow_serving_pb2 import ModelSpec, PredictRequest
from headrace.schemas.records import Route

NAMES = st.text(min_size=1, max_size=200)
VERSIONS = st.integers(min_value=-(2**63), max_value=2**63 - 1)


def request_for(route: Route, signature: str = "", tensor: bytes = b"") -> PredictRequest:
    """Return a request as a client builds it."""
    request = PredictRequest()
    request.model_spec.name = route.model
    request.model_spec.signature_name = signature
    if route.version is not None:
        request.model_spec.version.value = route.version
    if route.label is not None:
        request.model_spec.version_label = route.label
    request.inputs["x"].tensor_content = tensor
    return request


@given(model=NAMES, version=VERSIONS, signature=st.text(max_size=100), tensor=st.binary())
def test_reads_the_version_that_a_request_names(
    model: str, version: int, signature: str, tensor: bytes
) -> None:
    """Whatever the lengths, the route is what protobuf would decode."""
    route = Route(model, version=version)
    assert read_predict_route(request_for(route, signature, tensor).SerializeToString()) == route


@given(model=NAMES, label=st.text(max_size=200))
def test_reads_the_label_that_a_request_names(model: str, label: str) -> None:
    """An empty label is a label, too: it names nothing that exists."""
    route = Route(model, label=label)
    assert read_predict_route(request_for(route).SerializeToString()) == route


@given(st.lists(st.sampled_from(["spec", "inputs", "filter"]), unique=True, min_size=1))
def test_reads_fields_in_any_order(order: list[str]) -> None:
    """An encoder need not write the model spec first."""
    whole = request_for(Route("m", version=7))
    parts = {
        "spec": PredictRequest(model_spec=whole.model_spec),
        "inputs": PredictRequest(inputs=whole.inputs),
        "filter": PredictRequest(output_filter=["y"]),
    }
    encoded = b"".join(parts[name].SerializeToString() for name in ["inputs", *order])
    if "spec" in order:
        assert read_predict_route(encoded) == Route("m", version=7)
    else:
        with pytest.raises(InvalidRequest, match="Missing ModelSpec"):
            read_predict_route(encoded)


def test_reads_a_length_that_takes_more_bytes_than_needed() -> None:
    """Protobuf allows padded lengths, which some encoders reserve room for."""
    spec = ModelSpec(name="m").SerializeToString()
    assert read_predict_route(b"\x0a" + bytes([len(spec) | 0x80, 0x00]) + spec) == Route("m")


def test_spec_that_sets_version_and_label_means_the_last() -> None:
    """On the wire both can appear; protobuf's rule for a oneof decides."""
    request = PredictRequest()
    request.model_spec.name = "m"
    spec = ModelSpec(name="m", version_label="stable").SerializeToString()
    spec += ModelSpec(version={"value": 3}).SerializeToString()
    assert read_predict_route(b"\x0a" + bytes([len(spec)]) + spec) == Route("m", version=3)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (PredictRequest(), "Missing ModelSpec"),
        (PredictRequest(output_filter=["y"]), "Missing ModelSpec"),
        (PredictRequest(model_spec=ModelSpec()), "ModelSpec has no name specified."),
        (
            PredictRequest(model_spec=ModelSpec(version_label="stable")),
            "ModelSpec has no name specified.",
        ),
    ],
)
def test_request_without_a_model_is_refused(request_: PredictRequest, message: str) -> None:
    """The texts are TensorFlow Serving's."""
    with pytest.raises(InvalidRequest) as raised:
        read_predict_route(request_.SerializeToString())
    assert str(raised.value) == message


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x0a",
        b"\x0a\x7f",
        b"\x0a\x05\x0a\x7fabc",
        b"\x0a\x03\x0a\x01\xff",
        b"\xff" * 40,
        b"\x12\x05",
        b"GET / HTTP/1.1",
    ],
)
def test_garbage_is_unreadable(garbage: bytes) -> None:
    """Bytes that are no request get an answer that says so."""
    with pytest.raises(UnreadableRequest, match="not a"):
        read_predict_route(garbage)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_route_or_a_refusal(data: bytes) -> None:
    """No input of a stranger may raise anything else."""
    try:
        route = read_predict_route(data)
    except InvalidRequest:
        return
    assert route.model
