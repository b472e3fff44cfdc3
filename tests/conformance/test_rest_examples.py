"""facts/tfserving.md 3.5: the JSON of classify and regress."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.conformance.http_client import Reply, Rest
from tests.conformance.tensorflow_serving import STYLES

each_style = pytest.mark.parametrize("style", STYLES)


@pytest.fixture(params=STYLES)
def model(request: pytest.FixtureRequest) -> str:
    """The models that take examples, in both styles."""
    return f"judge_{request.param}"


def regress(rest: Rest, model: str, **body: Any) -> Reply:  # noqa: ANN401 - JSON
    """Return what a regression gets."""
    return rest.post(f"/models/{model}:regress", {"signature_name": "regress"} | body)


def test_classify_gives_pairs(rest: Rest, model: str) -> None:
    """'Answer key is `results` in code: classify [[ [label,score], …]]'."""
    examples = [{"x": 0.25, "name": "a"}, {"x": 0.75, "name": "ü"}]
    reply = rest.post(f"/models/{model}:classify", {"examples": examples})
    assert (reply.status, reply.json) == (
        200,
        {
            "results": [
                [["a-low", 0.75], ["a-high", 0.25]],
                [["ü-low", 0.25], ["ü-high", 0.75]],
            ]
        },
    )


@pytest.mark.parametrize(
    ("signature", "pairs"),
    [("scores", [["", 0.75], ["", 0.25]]), ("labels", [["-low", 0.0], ["-high", 0.0]])],
)
def test_classify_gives_what_there_is(
    rest: Rest, model: str, signature: str, pairs: list[list[Any]]
) -> None:
    """3.2: 'either may be absent'."""
    body = {"signature_name": signature, "examples": [{"x": 0.25}]}
    assert rest.post(f"/models/{model}:classify", body).json == {"results": [pairs]}


def test_regress_gives_numbers(rest: Rest, model: str) -> None:
    """'regress [v,…]', shortest, with '.0 for whole'."""
    reply = regress(rest, model, examples=[{"x": 0.1}, {"x": 2.0}, {"x": -0.5}])
    assert reply.json == {"results": [0.1, 2.0, -0.5]}
    assert "2.0" in reply.text


def test_regress_serves_upstreams_own_test_model(rest: Rest) -> None:
    """TF1, output of shape [n, 1]."""
    body = {"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}, {"x": [5.0]}]}
    assert rest.post("/models/zoo:regress", body).json == {"results": [3.0, 4.5]}


def test_context_is_shared(rest: Rest, model: str) -> None:
    """'optional `context` object'; an example's own feature counts."""
    reply = regress(rest, model, context={"w": 10.0}, examples=[{"x": 1.0}, {"x": 2.0, "w": 3.0}])
    assert reply.json == {"results": [10.0, 6.0]}


@pytest.mark.parametrize(
    "name",
    ["ab", {"b64": base64.b64encode(b"ab").decode()}, ["ab"]],
    ids=["string", "b64", "list"],
)
def test_strings_are_bytes(rest: Rest, model: str, name: object) -> None:
    """'strings/b64→bytes'; a list of one is like the one."""
    body = {"examples": [{"x": 0.25, "name": name}], "signature_name": "labels"}
    reply = rest.post(f"/models/{model}:classify", body)
    assert reply.json == {"results": [[["ab-low", 0.0], ["ab-high", 0.0]]]}


@pytest.mark.parametrize(("value", "result"), [(0.5, 0.5), (2.0, 2.0), ([2.5], 2.5), (1e39, None)])
def test_decimals_are_floats(rest: Rest, model: str, value: object, result: float | None) -> None:
    """'decimals→float'; past the largest, infinite."""
    reply = regress(rest, model, examples=[{"x": value}])
    assert reply.json == {"results": [float("inf") if result is None else result]}


@pytest.mark.parametrize("value", [1, True, [3]], ids=str)
def test_whole_numbers_and_bools_are_int64(rest: Rest, model: str, value: object) -> None:
    """'ints→int64 … bools→int64 0/1': which a graph that parses floats refuses."""
    reply = regress(rest, model, examples=[{"x": value}])
    assert reply.status == 400
    assert "int64" in reply.error


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no examples": ({}, "'examples'"),
    "empty examples": ({"examples": []}, "'examples'"),
    "examples is no list": ({"examples": {"x": 1.0}}, "'examples'"),
    "an example is no object": ({"examples": [1.0]}, "example 0 must be an object"),
    "context is no object": ({"context": 1.0, "examples": [{"x": 1.0}]}, "'context'"),
    "one kind per feature": ({"examples": [{"x": [1.0, "a"]}]}, "one type"),
    "one kind per feature: int and float": ({"examples": [{"x": [1.0, 2]}]}, "one type"),
    "a list in a list": ({"examples": [{"x": [[1.0]]}]}, "a list in its list"),
    "null": ({"examples": [{"x": None}]}, "null"),
    "an object that is no b64": ({"examples": [{"x": {"y": 1.0}}]}, "an object"),
    "a uint64": ({"examples": [{"x": 2**63}]}, "uint64"),
    "b64 that is none": ({"examples": [{"name": {"b64": "!"}}]}, "base64"),
    "unknown signature": (
        {"signature_name": "nope", "examples": [{"x": 1.0}]},
        "No signature was found with the name: nope",
    ),
    "a signature of another form": (
        {"signature_name": "serving_default", "examples": [{"x": 1.0}]},
        "Expected one output",
    ),
}


@pytest.mark.parametrize("row", REFUSED.values(), ids=REFUSED)
def test_refused(rest: Rest, model: str, row: tuple[dict[str, Any], str]) -> None:
    """'Classify/regress body: `signature_name`, optional `context` object, `examples` list of
    feature objects; … one kind per feature'.
    """
    body, words = row
    reply = regress(rest, model, **body)
    assert reply.status == 400
    assert words in reply.error
