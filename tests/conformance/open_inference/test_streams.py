"""ModelStreamInfer, with the clients' streams and with Triton's message itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from tests.conformance.open_inference.clients import (
    AnyTriton,
    X,
    Y,
    floats,
    half,
    message,
    with_raw,
)
from tests.conformance.open_inference.models import EVERY_KIND, HALF_PLUS_TWO, gated
from tests.conformance.open_inference.stage import Stage
from tests.integration.consumer.rpc.triton import RequestedOutput, inputs_of, sync_client


@pytest.mark.parametrize("name", HALF_PLUS_TWO)
def test_stream(triton: AnyTriton, name: str) -> None:
    """ModelStreamInfer (bidi): an answer for each request, with its id, in their order."""
    requests = [
        {"model_name": name, "inputs": floats(number), "request_id": f"r{number}"}
        for number in range(150)
    ]
    answers = triton.converse(requests)
    assert [error for _, error in answers if error] == []
    assert [result.get_response().id for result, _ in answers] == [f"r{n}" for n in range(150)]
    assert [result.as_numpy("y").item() for result, _ in answers] == [
        number / 2 + 2 for number in range(150)
    ]


def test_stream_of_several_models(triton: AnyTriton) -> None:
    """Every request of a stream names its own model, version and outputs."""
    requests: list[dict[str, Any]] = [
        {"model_name": name, "inputs": floats(), "outputs": [RequestedOutput("y")]}
        for name in HALF_PLUS_TWO
    ]
    requests += [
        {"model_name": "many", "inputs": floats(), "model_version": version}
        for version in ("", "1", "stable")
    ]
    answers = triton.converse(requests)
    for result, _ in answers:
        np.testing.assert_array_equal(result.as_numpy("y"), Y)
    used = [(r.get_response().model_name, r.get_response().model_version) for r, _ in answers]
    assert used == [(n, "1") for n in HALF_PLUS_TWO] + [("many", v) for v in ("3", "1", "2")]


def test_request_that_fails_does_not_end_the_stream(triton: AnyTriton) -> None:
    """1 error_message string: what is wrong with one request is its own answer."""
    bad: list[dict[str, Any]] = [
        {"model_name": "nobody", "inputs": floats()},
        {"model_name": "tf2", "inputs": inputs_of(x=X.astype(np.float64))},
        {"model_name": "tf2", "inputs": floats(), "model_version": "9"},
    ]
    good = {"model_name": "tf2", "inputs": floats()}
    answers = triton.converse([good, bad[0], good, bad[1], bad[2], good])
    assert [error is None for _, error in answers] == [True, False, True, False, False, True]
    words = [str(error) for _, error in answers if error]
    assert "nobody" in words[0]
    assert "float64" in words[1]
    assert "9" in words[2]


def test_empty_stream(triton: AnyTriton) -> None:
    """A stream without requests ends without answers."""
    assert triton.converse([]) == []


@pytest.mark.parametrize("name", HALF_PLUS_TWO)
def test_answers_of_the_stream_are_tritons_message(stub: Any, name: str) -> None:  # noqa: ANN401 - untyped
    """ModelStreamInferResponse: 1 error_message string; 2 infer_response ModelInferResponse."""
    good, bad = half(name, id="good"), half(name, id="bad", model_version="9")
    first, second = stub.ModelStreamInfer(iter([good, bad]), timeout=30)
    assert first.error_message == ""
    response = first.infer_response
    assert (response.id, response.model_name, response.model_version) == ("good", name, "1")
    assert np.frombuffer(response.raw_output_contents[0], np.float32).tolist() == [2.5, 3, 4.5]
    assert response.parameters["triton_final_response"].bool_param is True
    assert name in second.error_message
    response = second.infer_response
    assert (response.id, response.model_name, response.model_version) == ("bad", name, "9")
    assert response.parameters["headrace_code"].string_param == "NOT_FOUND"


@pytest.mark.parametrize("name", EVERY_KIND)
def test_stream_of_raw_bytes(stub: Any, name: str) -> None:  # noqa: ANN401 - untyped
    """Raw in → raw out, in a stream too."""
    packed = bytes(range(6))
    request = with_raw(message(name, signature="uint8"), "x", "UINT8", [2, 3], packed)
    request.outputs.add(name="same")
    (answer,) = stub.ModelStreamInfer(iter([request]), timeout=30)
    assert list(answer.infer_response.raw_output_contents) == [packed]


def test_cancelled_stream(stage: Stage, tmp_path: Path) -> None:
    """Cancelled→CANCELLED: stop_stream(cancel_requests=True) ends what is under way."""
    said: list[tuple[Any, Any]] = []

    def hear(result: Any, error: Any) -> None:  # noqa: ANN401 - untyped
        said.append((result, error))

    with gated(stage, "streamed", tmp_path / "streamed") as gate:
        gate.let_load()
        stage.run(stage.node.event("version.available", model="streamed"))
        client = sync_client(stage.address)
        client.start_stream(hear)
        client.async_stream_infer("streamed", inputs_of(x=np.ones(1, np.float32)))
        client.stop_stream(cancel_requests=True)
        client.close()
    ((result, error),) = said
    assert result is None
    assert error.status() == "StatusCode.CANCELLED"


def test_deadline_of_a_stream(stub: Any) -> None:  # noqa: ANN401 - untyped
    """Expired DEADLINE_EXCEEDED: tritonclient's stream_timeout."""
    asleep = message("sleepy")
    tensor = asleep.inputs.add(name="seconds", datatype="FP32", shape=[1])
    tensor.contents.fp32_contents.append(1e9)
    call = stub.ModelStreamInfer(iter([asleep]), timeout=0.3)
    with pytest.raises(grpc.RpcError):
        next(call)
    assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
