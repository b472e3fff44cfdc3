"""The status codes that clients meet, and what they can do about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from tests.conformance.open_inference.clients import (
    AnyTriton,
    connected,
    floats,
    message,
    refusal,
    with_typed,
)
from tests.conformance.open_inference.models import HALF_PLUS_TWO, Gated, gated
from tests.conformance.open_inference.stage import Stage
from tests.integration.consumer.rpc.triton import inputs_of

UNKNOWN: dict[str, tuple[str, str, str]] = {
    "model": ("nobody", "", "NOT_FOUND"),
    **{f"version of {name}": (name, "9", "NOT_FOUND") for name in HALF_PLUS_TWO},
    "label": ("many", "nosuch", "INVALID_ARGUMENT"),
    "version that cannot be one": ("many", "0", "INVALID_ARGUMENT"),
    "version beyond 64 bits": ("many", "9" * 30, "INVALID_ARGUMENT"),
}


def vector(model: str, *values: float, alias: str = "x", **fields: object) -> Any:  # noqa: ANN401 - untyped
    """Return a typed request with a vector."""
    return with_typed(message(model, **fields), alias, "FP32", [len(values)], fp32_contents=values)


@pytest.mark.parametrize("what", UNKNOWN)
def test_unknown(triton: AnyTriton, what: str) -> None:
    """Unknown model/version NOT_FOUND; other text that is no label INVALID_ARGUMENT."""
    name, version, code = UNKNOWN[what]
    assert refusal(triton.ask, "infer", name, floats(), model_version=version)[0] == code


@pytest.mark.parametrize("name", HALF_PLUS_TWO)
def test_unknown_signature(triton: AnyTriton, name: str) -> None:
    """A signature that the model has not is FAILED_PRECONDITION."""
    parameters = {"headrace_signature": "nosuch"}
    code, words = refusal(triton.ask, "infer", name, floats(), parameters=parameters)
    assert code == "FAILED_PRECONDITION"
    assert "nosuch" in words


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [("picky_python", 100.0, "INTERNAL"), ("picky_tf2", 100.0, "INVALID_ARGUMENT")],
)
def test_model_that_raises(stub: Any, name: str, value: float, code: str) -> None:  # noqa: ANN401 - untyped
    """Internal→INTERNAL, in the model's words without a traceback; TensorFlow's codes stay."""
    found, words = refusal(stub.ModelInfer, vector(name, value), timeout=30)
    assert found == code
    assert "x is too large" in words
    assert "Traceback" not in words
    assert list(stub.ModelInfer(vector(name, 1.0), timeout=30).outputs[0].shape) == [1]


def test_model_that_dies(stub: Any) -> None:  # noqa: ANN401 - untyped
    """Unavailable→UNAVAILABLE, and the next request is answered."""
    assert refusal(stub.ModelInfer, vector("brittle", 13.0), timeout=60)[0] == "UNAVAILABLE"
    answer = stub.ModelInfer(vector("brittle", 1.0), timeout=30)
    assert list(answer.outputs[0].contents.fp32_contents) == [1.0]


@pytest.mark.parametrize("bound", [{"client_timeout": 0.2}, {"timeout": 200_000}], ids=str)
def test_time_is_over(triton: AnyTriton, bound: dict[str, Any]) -> None:
    """Expired DEADLINE_EXCEEDED, by the client's deadline or the parameter `timeout`."""
    seconds = inputs_of(seconds=np.array([1e9], np.float32))
    assert refusal(triton.ask, "infer", "sleepy", seconds, **bound)[0] == "DEADLINE_EXCEEDED"
    seconds = inputs_of(seconds=np.array([0], np.float32))
    assert triton.ask("infer", "sleepy", seconds).as_numpy("seconds").tolist() == [0]


@pytest.fixture(scope="module")
def held(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    """A model that is loaded, and holds what it is asked, for a test to let."""
    with gated(stage, "held", tmp_path_factory.mktemp("held")) as gate:
        gate.let_load()
        stage.run(stage.node.event("version.available", model="held"))
        yield gate


def test_cancelled(stage: Stage, held: Gated) -> None:
    """Cancelled→CANCELLED, as tritonclient's CallContext does it."""
    assert held.path
    with connected("tritonclient.grpc", stage.address) as client:
        x = inputs_of(x=np.array([1], np.float32))
        said: list[tuple[Any, Any]] = []

        def hear(result: Any, error: Any) -> None:  # noqa: ANN401 - untyped
            said.append((result, error))

        call = client.ask("async_infer", "held", x, callback=hear)
        call.cancel()
    ((result, error),) = said
    assert result is None
    assert error.status() == "StatusCode.CANCELLED"


def test_full_queue(stub: Any, held: Gated) -> None:  # noqa: ANN401 - untyped
    """Queue full RESOURCE_EXHAUSTED (+ retry hint), at once; what is inside is answered."""
    calls = [stub.ModelInfer.future(vector("held", 1.0), timeout=60) for _ in range(200)]
    refused: list[Any] = []
    # The node holds 128 and what its worker has taken: of the last, one must be turned away.
    for call in reversed(calls):
        if call.exception(timeout=30) is not None:
            refused.append(call)
            break
    held.let_run()
    codes = [call.code() if call.exception() else grpc.StatusCode.OK for call in calls]
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert codes.count(grpc.StatusCode.OK) >= 128
    hint = dict(refused[0].trailing_metadata())
    assert int(hint["retry-after"]) >= 1
    assert int(hint["grpc-retry-pushback-ms"]) >= 1
