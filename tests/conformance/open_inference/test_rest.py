"""Open Inference over REST, by plain HTTP."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.conformance.open_inference.models import EVERY_KIND, HALF_PLUS_TWO, PLATFORMS
from tests.conformance.open_inference.rest import Ask, tensor

X = tensor("x", "FP32", [3, 1], [1, 2, 5])


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
def test_health(ask: Ask, path: str) -> None:
    """REST twins of ServerLive and ServerReady."""
    assert ask("GET", path).status == 200


def test_server_metadata(ask: Ask) -> None:
    """Advertise "model_repository" in ServerMetadata.extensions."""
    answer = ask("GET", "/v2")
    assert answer.json["name"] == "headrace"
    assert answer.json["version"]
    assert "model_repository" in answer.json["extensions"]


@pytest.mark.parametrize("version", ["", "/versions/1"])
@pytest.mark.parametrize("name", HALF_PLUS_TWO)
def test_model_metadata(ask: Ask, name: str, version: str) -> None:
    """REST twin of ModelMetadata, with its names."""
    assert ask("GET", f"/v2/models/{name}{version}").json == {
        "name": name,
        "versions": ["1"],
        "platform": PLATFORMS[name],
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1]}],
    }


def test_model_metadata_names_all_versions(ask: Ask) -> None:
    """In the order that ModelMetadata has them."""
    assert ask("GET", "/v2/models/many").json["versions"] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *((f"{name}/ready", 200) for name in HALF_PLUS_TWO),
        ("many/versions/2/ready", 200),
        ("many/versions/stable/ready", 200),
        ("many/versions/9/ready", 404),
        ("nobody/ready", 404),
    ],
)
def test_model_ready(ask: Ask, path: str, status: int) -> None:
    """REST twin of ModelReady: the status says it."""
    assert ask("GET", f"/v2/models/{path}").status == status


@pytest.mark.parametrize("data", [[1, 2, 5], [[1], [2], [5]]], ids=["flat", "nested"])
@pytest.mark.parametrize("name", HALF_PLUS_TWO)
def test_infer(ask: Ask, name: str, data: object) -> None:
    """REST twin of ModelInfer: id is echoed, the version filled in."""
    body = {"id": "r-ü", "inputs": [tensor("x", "FP32", [3, 1], data)]}
    assert ask("POST", f"/v2/models/{name}/infer", body).json == {
        "id": "r-ü",
        "model_name": name,
        "model_version": "1",
        "outputs": [tensor("y", "FP32", [3, 1], [2.5, 3.0, 4.5])],
    }


@pytest.mark.parametrize(("version", "used"), [("1", "1"), ("2", "2"), ("stable", "2")])
def test_infer_of_a_version(ask: Ask, version: str, used: str) -> None:
    """A version or a label in the path."""
    answer = ask("POST", f"/v2/models/many/versions/{version}/infer", {"inputs": [X]})
    assert answer.json["model_version"] == used


@pytest.mark.parametrize("wanted", [["sum"], ["sum", "product"], ["product", "sum"]], ids="+".join)
@pytest.mark.parametrize("name", EVERY_KIND)
def test_requested_outputs(ask: Ask, name: str, wanted: list[str]) -> None:
    """Response order follows request."""
    body = {
        "inputs": [tensor("b", "FP32", [1, 1], [5]), tensor("a", "FP32", [1, 1], [2])],
        "outputs": [{"name": each} for each in wanted],
        "parameters": {"headrace_signature": "pair"},
    }
    found = ask("POST", f"/v2/models/{name}/infer", body).json["outputs"]
    values = {"sum": [7.0], "product": [10.0]}
    assert [(each["name"], each["data"]) for each in found] == [(w, values[w]) for w in wanted]


REFUSED: dict[str, tuple[str, object, int]] = {
    "unknown model": ("nobody/infer", {"inputs": [X]}, 404),
    "unknown version": ("tf2/versions/9/infer", {"inputs": [X]}, 404),
    "unknown label": ("many/versions/nosuch/infer", {"inputs": [X]}, 400),
    "unknown signature": (
        "tf2/infer",
        {"inputs": [X], "parameters": {"headrace_signature": "nosuch"}},
        400,
    ),
    "no JSON": ("tf2/infer", b"{", 400),
    "no inputs": ("tf2/infer", {}, 400),
    "values too few": ("tf2/infer", {"inputs": [tensor("x", "FP32", [3, 1], [1])]}, 400),
    "values too many": ("tf2/infer", {"inputs": [tensor("x", "FP32", [1, 1], [1, 2])]}, 400),
    "no values": ("tf2/infer", {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1]}]}, 400),
    "value of another kind": ("tf2/infer", {"inputs": [tensor("x", "FP32", [1, 1], ["a"])]}, 400),
    "value out of range": (
        "kinds_tf2/infer",
        {
            "inputs": [tensor("x", "INT8", [1, 1], [128])],
            "parameters": {"headrace_signature": "int8"},
        },
        400,
    ),
    "negative dimension": ("tf2/infer", {"inputs": [tensor("x", "FP32", [-1, -1], [1])]}, 400),
    "unknown datatype": ("tf2/infer", {"inputs": [tensor("x", "FP33", [1, 1], [1])]}, 400),
    "datatype of another": ("tf2/infer", {"inputs": [tensor("x", "INT64", [1, 1], [1])]}, 400),
    "missing input": (
        "kinds_tf2/infer",
        {
            "inputs": [tensor("a", "FP32", [1, 1], [1])],
            "parameters": {"headrace_signature": "pair"},
        },
        400,
    ),
    "unexpected input": ("tf2/infer", {"inputs": [X, X | {"name": "z"}]}, 400),
    "an input twice": ("tf2/infer", {"inputs": [X, X]}, 400),
    "unknown output": ("tf2/infer", {"inputs": [X], "outputs": [{"name": "nosuch"}]}, 400),
    "shared memory": (
        "tf2/infer",
        {"inputs": [X | {"parameters": {"shared_memory_region": "r"}}]},
        400,
    ),
    "model that raises": (
        "picky_python/infer",
        {"inputs": [tensor("x", "FP32", [1], [100])]},
        500,
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(ask: Ask, what: str) -> None:
    """Error body {"error": text}, with the status of the code."""
    path, body, status = REFUSED[what]
    answer = ask("POST", f"/v2/models/{path}", body)
    assert (answer.status, list(answer.json)) == (status, ["error"])
    assert answer.json["error"]
    assert "Traceback" not in answer.json["error"]


def test_compressed(ask: Ask) -> None:
    """A compressed body is read."""
    body = gzip.compress(json.dumps({"inputs": [X]}).encode())
    answer = ask("POST", "/v2/models/tf1/infer", body, {"Content-Encoding": "gzip"})
    assert answer.json["outputs"][0]["data"] == [2.5, 3.0, 4.5]
