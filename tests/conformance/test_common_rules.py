"""facts/tfserving.md 3.1, rules and errors that all methods share, asked of each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import grpc
import pytest

from headrace.protos import tensorflow_serving_pb2 as ours
from tests.conformance.tensorflow_serving import (
    CLASSIFY,
    STYLES,
    TIMEOUT_SECONDS,
    Client,
    Refusal,
    example,
    listed,
    outputs_of,
    predict_request,
    prediction_stub,
    serialised,
    spec,
)
from tests.integration.consumer.rpc.official import ModelSpec, PredictRequest

Asked = ours.ModelSpec | None
ONE = listed(0.25)


def predict(client: Client, asked: Asked) -> ours.ModelSpec:
    """Predict with the signature that classifies."""
    return client.predict(asked, {"inputs": serialised(example(x=0.25))}).model_spec


def classify(client: Client, asked: Asked) -> ours.ModelSpec:
    """Classify."""
    return client.classify(asked, ONE).model_spec


def regress(client: Client, asked: Asked) -> ours.ModelSpec:
    """Regress, by the signature that does."""
    if asked is not None and not asked.signature_name:
        asked = ModelSpec.FromString(asked.SerializeToString())
        asked.signature_name = "regress"
    return client.regress(asked, ONE).model_spec


def multi_inference(client: Client, asked: Asked) -> ours.ModelSpec:
    """Run one task."""
    return client.multi(ONE, (asked, CLASSIFY)).results[0].model_spec


def get_model_metadata(client: Client, asked: Asked) -> ours.ModelSpec:
    """Ask for signatures."""
    return client.metadata(asked, "signature_def").model_spec


Method = Callable[[Client, Asked], ours.ModelSpec]
METHODS: tuple[Method, ...] = (predict, classify, regress, multi_inference, get_model_metadata)
each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
each_style = pytest.mark.parametrize("style", STYLES)


@each_style
@each_method
@pytest.mark.parametrize(
    ("choice", "version"),
    [
        ({}, 12),
        ({"version": {"value": 3}}, 3),
        ({"version": {"value": 12}}, 12),
        ({"version_label": "stable"}, 3),
        ({"version_label": "canary"}, 12),
        ({"version_label": "also_stable"}, 3),
    ],
    ids=str,
)
def test_model_spec_has_name_resolved_version_and_signature_and_no_label(
    client: Client, style: str, method: Method, choice: dict[str, Any], version: int
) -> None:
    """'ModelSpec{name, oneof version|version_label, signature_name=""→"serving_default"}.

    Response ModelSpec carries name, *resolved* version and *resolved* signature name; the label is
    not echoed.' Of GetModelMetadata: 'model_spec (name, version)'.
    """
    found = method(client, spec(f"judge_{style}", **choice))
    assert (found.name, found.version.value) == (f"judge_{style}", version)
    assert not found.version_label
    signature = {"regress": "regress", "get_model_metadata": ""}.get(method.__name__)
    assert found.signature_name == ("serving_default" if signature is None else signature)


NOT_FOUND, INVALID = "NOT_FOUND", "INVALID_ARGUMENT"
ROWS: dict[str, tuple[dict[str, Any] | None, str, str]] = {
    "model_spec absent -> INVALID_ARGUMENT missing ModelSpec": (None, INVALID, "Missing ModelSpec"),
    "empty name -> INVALID_ARGUMENT no name specified": (
        {"name": "", "version": {"value": 3}},
        INVALID,
        "ModelSpec has no name specified.",
    ),
    "unknown model -> NOT_FOUND Servable not found for request: Latest(m)": (
        {"name": "none"},
        NOT_FOUND,
        "Servable not found for request: Latest(none)",
    ),
    "version not ready -> NOT_FOUND Specific(m, v)": (
        {"version": {"value": 7}},
        NOT_FOUND,
        "Servable not found for request: Specific(judge_tf2, 7)",
    ),
    "unknown model, specific version": (
        {"name": "none", "version": {"value": 7}},
        NOT_FOUND,
        "Servable not found for request: Specific(none, 7)",
    ),
    "negative version": (
        {"version": {"value": -1}},
        NOT_FOUND,
        "Servable not found for request: Specific(judge_tf2, -1)",
    ),
    "unknown label -> INVALID_ARGUMENT unrecognized servable version label": (
        {"version_label": "nope"},
        INVALID,
        "Unrecognized servable version label: 'nope'",
    ),
    "unknown label, even if the model is unknown -> INVALID_ARGUMENT": (
        {"name": "none", "version_label": "stable"},
        INVALID,
        "Unrecognized servable version label: 'stable'",
    ),
}


@each_method
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_model_spec_that_leads_nowhere(
    client: Client, method: Method, row: tuple[dict[str, Any] | None, str, str]
) -> None:
    """The table of 3.1."""
    fields, code, message = row
    named: dict[str, Any] = {"name": "judge_tf2"}
    asked = None if fields is None else ModelSpec(**named | fields)
    with pytest.raises(Refusal) as refused:
        method(client, asked)
    assert refused.value.code == code
    if method is multi_inference and fields is None:
        message = "ModelSpec has no name specified."  # a task's own is empty rather than absent
    assert refused.value.message.startswith(message)


@pytest.mark.parametrize("order", ["version last", "label last"])
def test_version_and_label_together_cannot_be_encoded(channel: grpc.Channel, order: str) -> None:
    """'version+label together cannot be encoded (oneof, last set wins)'; bytes that have both."""
    request = predict_request(None, {"inputs": serialised(example(x=0.25))})
    parts = [spec("judge_tf1", version={"value": 12}), ModelSpec(version_label="stable")]
    if order == "version last":
        parts.reverse()
    both = b"".join(part.SerializeToString() for part in parts)
    head = bytes([0x0A, len(both)]) + both
    call = cast(
        "grpc.UnaryUnaryMultiCallable[bytes, ours.PredictResponse]",
        channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            response_deserializer=cast("Any", ours.PredictResponse).FromString,
        ),
    )
    response = call(head + request.SerializeToString(), timeout=TIMEOUT_SECONDS)
    assert response.model_spec.version.value == (12 if order == "version last" else 3)


def test_long_message_is_cut_and_marked(client: Client) -> None:
    """'Messages over 1024 chars are cut and marked truncated.'."""
    with pytest.raises(Refusal) as refused:
        client.predict(spec("judge_tf1", version_label="x" * 5000), {})
    assert refused.value.code == "INVALID_ARGUMENT"
    assert len(refused.value.message) == 1024 + len("...TRUNCATED")
    assert refused.value.message.endswith("x...TRUNCATED")


def test_deadline_bounds_the_run(channel: grpc.Channel, client: Client) -> None:
    """'Client deadline becomes the run timeout': a graph that never ends gives its worker back."""
    asked = predict_request(spec("sleepy"), {"seconds": [1e9]})
    with pytest.raises(grpc.RpcError) as refused:
        prediction_stub(channel).Predict(asked, timeout=0.5)
    assert cast("grpc.Call", refused.value).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert outputs_of(client.predict(spec("sleepy"), {"seconds": [0.0]})) == {"seconds": [0.0]}


def test_expired_deadline_is_no_endless_one(channel: grpc.Channel, client: Client) -> None:
    """'an already expired one turns into ≤ 0, i.e. no timeout': here it is not run.

    Differs from TensorFlow Serving. The call behind it would wait for 1e9 seconds.
    """
    stub = prediction_stub(channel)
    first = stub.Predict.future(predict_request(spec("sleepy"), {"seconds": [0.5]}), timeout=30)
    endless = predict_request(spec("sleepy"), {"seconds": [1e9]})
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(endless, timeout=0.1)
    assert cast("grpc.Call", refused.value).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert outputs_of(client.predict(spec("sleepy"), {"seconds": [0.0]})) == {"seconds": [0.0]}
    assert outputs_of(first.result(timeout=30)) == {"seconds": [0.5]}


def test_cancelled_call_in_the_queue_is_never_run(channel: grpc.Channel, client: Client) -> None:
    """'Client cancellation is not propagated anywhere': here it leaves the queue.

    Differs from TensorFlow Serving. The call behind it would wait for 1e9 seconds.
    """
    stub = prediction_stub(channel)
    first = stub.Predict.future(predict_request(spec("sleepy"), {"seconds": [0.5]}), timeout=30)
    endless = predict_request(spec("sleepy"), {"seconds": [1e9]})
    cancelled = stub.Predict.future(endless, timeout=60)
    client.status(spec("sleepy"))  # Behind it on the same connection.
    cancelled.cancel()
    assert outputs_of(client.predict(spec("sleepy"), {"seconds": [0.0]})) == {"seconds": [0.0]}
    assert outputs_of(first.result(timeout=30)) == {"seconds": [0.5]}


@each_method
def test_platform_of_another_kind(client: Client, method: Method) -> None:
    """'platform returns a different servable type → INVALID_ARGUMENT type doesn't match'.

    Differs from TensorFlow Serving: platforms are asked alike, so it is the signature that does not
    fit here; metadata are answered.
    """
    if method is get_model_metadata:
        assert method(client, spec("python_half_plus_two")).name == "python_half_plus_two"
        return
    with pytest.raises(Refusal) as refused:
        method(client, spec("python_half_plus_two", "serving_default"))
    assert refused.value.code == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "method", ["Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"]
)
def test_bytes_that_are_no_request(channel: grpc.Channel, method: str) -> None:
    """Not a row: garbage is INVALID_ARGUMENT."""
    call = cast(
        "grpc.UnaryUnaryMultiCallable[bytes, bytes]",
        channel.unary_unary(f"/tensorflow.serving.PredictionService/{method}"),
    )
    with pytest.raises(grpc.RpcError) as refused:
        call(b"\xff" * 40, timeout=TIMEOUT_SECONDS)
    assert cast("grpc.Call", refused.value).code() is grpc.StatusCode.INVALID_ARGUMENT


def test_request_messages_are_the_public_ones() -> None:
    """A guard of this suite: what it sends are TensorFlow Serving's own classes."""
    assert PredictRequest.DESCRIPTOR.full_name == "tensorflow.serving.PredictRequest"
