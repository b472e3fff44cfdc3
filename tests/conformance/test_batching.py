"""facts/tfserving.md 3.1, the rows about batches, as far as they come true here."""

from __future__ import annotations

import grpc
import pytest

from headrace.protos import tensorflow_serving_pb2 as ours
from tests.conformance.tensorflow_serving import (
    TIMEOUT_SECONDS,
    Client,
    Refusal,
    outputs_of,
    predict_request,
    prediction_stub,
    spec,
)

Inputs = list[float] | list[list[float]]


def together(channel: grpc.Channel, model: str, *values: Inputs) -> list[ours.PredictResponse]:
    """Send two requests that make a batch, and return the answers; those refused are left out."""
    stub = prediction_stub(channel)
    calls = [
        stub.Predict.future(predict_request(spec(model), {"x": value}), timeout=TIMEOUT_SECONDS)
        for value in values
    ]
    return [call.result() for call in calls if call.exception() is None]


def test_requests_of_one_shape_share_a_run(channel: grpc.Channel) -> None:
    """What the other tests rest on: the model says how many rows it was run with."""
    answers = together(channel, "paired", [[1.0, 2.0]], [[3.0, 4.0]])
    assert [outputs_of(answer) for answer in answers] == [
        {"y": [[2.0, 4.0]], "rows": [2]},
        {"y": [[6.0, 8.0]], "rows": [2]},
    ]


def test_requests_of_different_shapes_run_apart(channel: grpc.Channel) -> None:
    """'different shapes in one batch without padding … → FAILED_PRECONDITION'.

    Differs from TensorFlow Serving: both are answered.
    """
    answers = together(channel, "paired", [[1.0]], [[2.0, 3.0]])
    assert [outputs_of(answer) for answer in answers] == [
        {"y": [[2.0]], "rows": [1]},
        {"y": [[4.0, 6.0]], "rows": [1]},
    ]


def test_output_that_is_not_batch_major_is_answered(channel: grpc.Channel) -> None:
    """'output not batch-major → FAILED_PRECONDITION'.

    Differs from TensorFlow Serving: the requests are run again one by one, and answered.
    """
    answers = together(channel, "paired_positives", [-1.0], [2.0])
    assert [outputs_of(answer) for answer in answers] == [{"y": []}, {"y": [2.0]}]


def test_bad_request_does_not_fail_its_neighbour(channel: grpc.Channel) -> None:
    """2.3: 'All calls in a batch share one result status'.

    Differs from TensorFlow Serving: the good one is answered.
    """
    answers = together(channel, "paired_picky", [100.0], [2.0])
    assert [outputs_of(answer) for answer in answers] == [{"y": [2.0]}]


def test_request_too_big_is_refused_where_that_is_wished(client: Client) -> None:
    """'batch queue … too big → INVALID_ARGUMENT'."""
    rows = [[1.0], [2.0], [5.0]]
    with pytest.raises(Refusal) as refused:
        client.predict(spec("bounded"), {"x": rows})
    assert refused.value.code == "INVALID_ARGUMENT"
    assert "Task size 3 is larger than maximum input batch size 2" in refused.value.message


def test_request_too_big_is_run_as_it_is(client: Client) -> None:
    """'batch queue … too big → INVALID_ARGUMENT'.

    Differs from TensorFlow Serving: without a wish it is a batch of its own.
    """
    answer = client.predict(spec("half_plus_two"), {"x": [[1.0]] * 3000})
    assert outputs_of(answer) == {"y": [[2.5]] * 3000}
