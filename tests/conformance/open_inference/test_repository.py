"""RepositoryIndex, RepositoryModelLoad and RepositoryModelUnload, and every state of a version."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headrace.publisher import RefusedByNode
from tests.conformance.open_inference.clients import (
    PATIENCE_SECONDS,
    AnyTriton,
    Y,
    floats,
    half,
    message,
    refusal,
    with_typed,
)
from tests.conformance.open_inference.models import EVERY_KIND, HALF_PLUS_TWO, gated
from tests.conformance.open_inference.stage import Stage
from tests.integration.consumer.rpc.triton import messages
from tests.models import model
from tests.onnx_models import write_onnx
from tests.python_models import write_python

States = Mapping[tuple[str, str], tuple[str, str]]


def states(answer: Any) -> States:  # noqa: ANN401 - untyped
    """Return state and reason by model and version."""
    return {(each.name, each.version): (each.state, each.reason) for each in answer.models}


def index(stub: Any) -> States:  # noqa: ANN401 - untyped
    """Return what the index says."""
    return states(stub.RepositoryIndex(messages.RepositoryIndexRequest(), timeout=30))


def eventually(claim: Callable[[], bool]) -> None:
    """Wait until a claim is true, or fail."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not claim():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="module", params=HALF_PLUS_TWO)
def movable(
    request: pytest.FixtureRequest, stage: Stage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A model of each platform that serves, for a test to unload and load."""
    folder = tmp_path_factory.mktemp("movable") / request.param
    sources: dict[str, Callable[[], Path]] = {
        "tf1": lambda: model("half_plus_two_tf1"),
        "tf2": lambda: model("half_plus_two"),
        "onnx": lambda: write_onnx("half_plus_two", folder),
        "python": lambda: write_python("half_plus_two", folder),
    }
    name = f"movable_{request.param}"
    stage.run(stage.publisher.publish(name, 1, sources[request.param](), wait="fleet"))
    yield name
    stage.run(stage.publisher.forget(name, force=True))


def test_index(triton: AnyTriton) -> None:
    """1 models repeated ModelIndex{1 name; 2 version; 3 state; 4 reason: all string}."""
    found = states(triton.ask("get_model_repository_index"))
    for name in (*HALF_PLUS_TWO, *EVERY_KIND):
        assert found[name, "1"] == ("READY", "")
    assert [found["many", version][0] for version in "123"] == ["READY"] * 3


def test_unload_and_load(triton: AnyTriton, stub: Any, movable: str) -> None:  # noqa: ANN401 - untyped
    """Load = load or reload; both block until done; the index lists all known incl. unloaded."""
    assert index(stub)[movable, "1"] == ("READY", "")
    triton.ask("unload_model", movable)
    assert triton.ask("is_model_ready", movable) is False
    assert refusal(triton.ask, "infer", movable, floats())[0] == "NOT_FOUND"
    assert index(stub)[movable, "1"][0] == "UNAVAILABLE"
    triton.ask("load_model", movable)
    assert triton.ask("is_model_ready", movable) is True
    assert (triton.ask("infer", movable, floats()).as_numpy("y") == Y).all()
    assert index(stub)[movable, "1"] == ("READY", "")


def test_index_of_what_is_ready(triton: AnyTriton, stub: Any, movable: str) -> None:  # noqa: ANN401 - untyped
    """RepositoryIndexRequest: 2 ready bool: only what serves."""
    triton.ask("unload_model", movable)
    ready = messages.RepositoryIndexRequest(ready=True)
    found = states(stub.RepositoryIndex(ready, timeout=30))
    assert {state for state, _ in found.values()} == {"READY"}
    assert (movable, "1") not in found
    assert (movable, "1") in index(stub)
    triton.ask("load_model", movable)
    assert (movable, "1") in states(stub.RepositoryIndex(ready, timeout=30))


def test_load_of_what_serves_is_fine(triton: AnyTriton, movable: str) -> None:
    """Load = load or reload: loading twice is no error, nor is unloading."""
    triton.ask("load_model", movable)
    triton.ask("load_model", movable)
    triton.ask("unload_model", movable)
    triton.ask("unload_model", movable)
    triton.ask("load_model", movable)
    assert triton.ask("is_model_ready", movable) is True


@pytest.mark.parametrize("unloads", [True, False])
def test_unload_dependents(triton: AnyTriton, movable: str, unloads: bool) -> None:
    """Parameters: unload `unload_dependents` (bool)."""
    triton.ask("unload_model", movable, unload_dependents=unloads)
    assert triton.ask("is_model_ready", movable) is False
    triton.ask("load_model", movable)


@pytest.mark.parametrize("method", ["load_model", "unload_model"])
def test_unknown_model(triton: AnyTriton, method: str) -> None:
    """Not found→NOT_FOUND."""
    code, words = refusal(triton.ask, method, "nobody")
    assert code == "NOT_FOUND"
    assert "nobody" in words


BROUGHT: dict[str, dict[str, Any]] = {
    "config": {"config": '{"max_batch_size": 8}'},
    "file:<version>/<name>": {"config": "{}", "files": {"file:1/model.onnx": b"bytes"}},
}


@pytest.mark.parametrize("parameter", BROUGHT)
def test_load_with_a_model_or_configuration_in_the_request(
    triton: AnyTriton, movable: str, parameter: str
) -> None:
    """Parameters `config`, `file:<version>/<name>`: refused, since the log is the configuration."""
    code, words = refusal(triton.ask, "load_model", movable, **BROUGHT[parameter])
    assert code == "INVALID_ARGUMENT"
    assert "control log" in words
    assert triton.ask("is_model_ready", movable) is True


@pytest.mark.parametrize(
    ("name", "value"),
    [("unload_dependents", {"string_param": "yes"}), ("nosuch", {"bool_param": True})],
)
def test_unload_parameter_that_is_none(
    stub: Any,  # noqa: ANN401 - untyped
    movable: str,
    name: str,
    value: Mapping[str, object],
) -> None:
    """ModelRepositoryParameter (oneof): a mistaken parameter is INVALID_ARGUMENT."""
    request = messages.RepositoryModelUnloadRequest(model_name=movable, parameters={name: value})
    assert refusal(stub.RepositoryModelUnload, request, timeout=30)[0] == "INVALID_ARGUMENT"
    assert index(stub)[movable, "1"] == ("READY", "")


@pytest.mark.parametrize(
    "method", ["RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"]
)
def test_repository_name(stub: Any, method: str) -> None:  # noqa: ANN401 - untyped
    """1 repository_name string: there is one; so KServe's field 1 = model_name does no harm."""
    request = getattr(messages, f"{method}Request")(repository_name="tf2")
    assert refusal(getattr(stub, method), request, timeout=30)[0] == "UNIMPLEMENTED"
    assert index(stub)["tf2", "1"] == ("READY", "")


@pytest.mark.parametrize("method", ["RepositoryModelLoad", "RepositoryModelUnload"])
def test_no_model_name(stub: Any, method: str) -> None:  # noqa: ANN401 - untyped
    """2 model_name string is required."""
    request = getattr(messages, f"{method}Request")()
    assert refusal(getattr(stub, method), request, timeout=30)[0] == "INVALID_ARGUMENT"


def test_states_of_a_version(stage: Stage, stub: Any, triton: AnyTriton, tmp_path: Path) -> None:  # noqa: ANN401 - untyped
    """States READY, UNAVAILABLE, LOADING, UNLOADING; known but loading is UNAVAILABLE to infer."""
    request = with_typed(message("slow"), "x", "FP32", [1], fp32_contents=[1.0])
    with gated(stage, "slow", tmp_path / "slow") as gate, ThreadPoolExecutor(1) as threads:
        eventually(lambda: index(stub).get(("slow", "1")) == ("LOADING", ""))
        assert triton.ask("is_model_ready", "slow") is False
        assert refusal(stub.ModelInfer, request, timeout=30)[0] == "UNAVAILABLE"
        assert triton.ask("is_server_ready") is True
        gate.let_load()
        eventually(lambda: index(stub)["slow", "1"] == ("READY", ""))
        running = stub.ModelInfer.future(request, timeout=60)
        stage.run(stage.node.event("version.available", model="slow"))
        unloading = threads.submit(
            stub.RepositoryModelUnload,
            messages.RepositoryModelUnloadRequest(model_name="slow"),
            timeout=60,
        )
        eventually(lambda: index(stub)["slow", "1"][0] == "UNLOADING")
        assert not unloading.done(), "an unload blocks until it is done"
        gate.let_run()
        assert list(running.result().outputs[0].contents.fp32_contents) == [1.0]
        unloading.result()
        assert index(stub)["slow", "1"][0] == "UNAVAILABLE"


def test_model_that_does_not_load(stage: Stage, stub: Any, triton: AnyTriton) -> None:  # noqa: ANN401 - untyped
    """Its state is UNAVAILABLE with the reason; another load says so with UNKNOWN."""
    with pytest.raises(RefusedByNode):
        stage.run(stage.publisher.publish("broken", 1, model("badly_warmed"), wait="fleet"))
    try:
        state, reason = index(stub)["broken", "1"]
        assert state == "UNAVAILABLE"
        assert "warm" in reason
        code, words = refusal(triton.ask, "load_model", "broken")
        assert code == "UNKNOWN"
        assert "warm" in words
        assert triton.ask("is_model_ready", "broken") is False
        assert triton.ask("is_server_ready") is True
    finally:
        stage.run(stage.publisher.forget("broken", force=True))


def test_old_version_is_listed(stub: Any, stage: Stage) -> None:  # noqa: ANN401 - untyped
    """The index lists all known versions; what the policy does not want is UNAVAILABLE."""
    for version in (1, 2):
        stage.run(stage.publisher.publish("moved", version, model("half_plus_two"), wait="fleet"))
    try:
        eventually(lambda: index(stub)["moved", "1"][0] == "UNAVAILABLE")
        assert index(stub)["moved", "2"] == ("READY", "")
        assert stub.ModelInfer(half("moved"), timeout=30).model_version == "2"
        assert refusal(stub.ModelInfer, half("moved", model_version="1"), timeout=30)[0] == (
            "NOT_FOUND"
        )
    finally:
        stage.run(stage.publisher.forget("moved", force=True))
