"""facts/tfserving.md 3.5: paths, verbs, the form of errors, status and metadata."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from tests.conformance.http_client import Rest
from tests.conformance.tensorflow_serving import STYLES, Client, Refusal, example, serialised, spec

each_style = pytest.mark.parametrize("style", STYLES)
X = {"instances": [[1.0], [2.0], [5.0]]}
Y = {"predictions": [[2.5], [3.0], [4.5]]}
STATUS_OF = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "NOT_FOUND": 404,
    "CANCELLED": 499,
    "UNIMPLEMENTED": 501,
}


@each_style
@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/half_plus_two_{}:predict",
        "/v1/models/half_plus_two_{}/versions/1:predict",
        "/v1/models/half_plus_two_{}/versions/0001:predict",
        "/v1/models/half%5Fplus%5ftwo_{}:predict",
        "/V1/MODELS/half_plus_two_{}:PREDICT",
        "/v1/Models/half_plus_two_{}/Versions/1:Predict",
    ],
)
def test_predict_path(rest: Rest, style: str, path: str) -> None:
    """'POST /v1/models/{m}[/versions/{n}|/labels/{l}]:predict'. 'Case-insensitive; names
    percent-decoded'.
    """
    reply = rest.ask("POST", path.format(style), json.dumps(X).encode())
    assert (reply.status, reply.json) == (200, Y)
    assert reply.headers["content-type"].startswith("application/json")


@each_style
@pytest.mark.parametrize("which", ["", "/versions/3", "/versions/12", "/labels/stable"])
@pytest.mark.parametrize("what", ["classify", "regress"])
def test_classify_and_regress_paths(rest: Rest, style: str, which: str, what: str) -> None:
    """'POST /v1/models/{m}[/versions/{n}|/labels/{l}]:(predict|classify|regress)'."""
    body: dict[str, Any] = {"examples": [{"x": 0.25}]}
    if what == "regress":
        body |= {"signature_name": "regress"}
    reply = rest.post(f"/models/judge_{style}{which}:{what}", body)
    given = [0.25] if what == "regress" else [[["-low", 0.75], ["-high", 0.25]]]
    assert (reply.status, reply.json) == (200, {"results": given})


def test_model_name_may_hold_what_is_encoded(rest: Rest) -> None:
    """'raw "/" and ":" not allowed' in names; encoded ones are part of the name."""
    reply = rest.post("/models/a%2Fb%3Ac:predict", X)
    assert (reply.status, reply.error) == (404, "Servable not found for request: Latest(a/b:c)")


MALFORMED = [
    ("GET", "/v1/"),
    ("GET", "/v1/model/judge_tf1"),
    ("GET", "/v1/models/judge_tf1:predict"),
    ("GET", "/v1/models/judge_tf1/nope"),
    ("GET", "/v1/models/judge_tf1/versions/x"),
    ("GET", "/v1/models/judge_tf1/versions/-1"),
    ("GET", "/v1/models/judge_tf1/versions/"),
    ("GET", "/v1/models/judge_tf1/versions/3/labels/stable"),
    ("GET", "/v1/models/judge_tf1/labels/stable/versions/3"),
    ("GET", "/v1/models/a:b"),
    ("POST", "/v1/models/judge_tf1"),
    ("POST", "/v1/models/judge_tf1:explain"),
    ("POST", "/v1/models/judge_tf1/metadata"),
    ("POST", "/v1/models/judge_tf1/versions/x:predict"),
    ("POST", "/v1/models/judge_tf1/versions/3/labels/stable:predict"),
    ("POST", "/v1/models/a/b:predict"),
    ("POST", "/v1/models/:predict"),
    ("PUT", "/v1/models/judge_tf1:predict"),
    ("DELETE", "/v1/models/judge_tf1"),
    ("PATCH", "/v1/models/judge_tf1"),
]


@pytest.mark.parametrize(("verb", "path"), MALFORMED, ids=" ".join)
def test_other_path_or_verb_is_malformed(rest: Rest, verb: str, path: str) -> None:
    """'Other /v1/ path or verb → 400 "Malformed request"'. 3.1: 'in REST such a path (version and
    label) is 400 malformed'.
    """
    reply = rest.ask(verb, path, b"{}" if verb in {"POST", "PUT", "PATCH"} else None)
    assert reply.status == 400
    assert reply.error == f"Malformed request: {verb} {path}"


@pytest.mark.parametrize(
    "path",
    ["/v1/models/m/versions/9223372036854775808", "/v1/models/m/versions/" + "9" * 400],
    ids=["2^63", "400 digits"],
)
def test_version_that_overflows(rest: Rest, path: str) -> None:
    """'path-parse failures such as an overflowing version give 400 with an **empty body**'.

    Differs from TensorFlow Serving: the body says what is wrong, as every other does.
    """
    for reply in (rest.ask("GET", path), rest.ask("POST", f"{path}:predict", b"{}")):
        assert reply.status == 400
        assert reply.error.startswith("Malformed request")


@pytest.mark.parametrize("path", ["/", "/v3/models/judge_tf1", "/models/judge_tf1", "/v1x"])
@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_outside_of_v1_there_is_nothing(rest: Rest, verb: str, path: str) -> None:
    """'outside /v1/ → 404'."""
    reply = rest.ask(verb, path, b"{}" if verb == "POST" else None)
    assert reply.status == 404
    assert reply.error


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/metadata"])
def test_model_name_is_missing(rest: Rest, path: str) -> None:
    """'`GET /v1/models` → 400 missing model name'. A model may be called metadata."""
    reply = rest.ask("GET", path)
    if path == "/v1/models":
        assert (reply.status, reply.error) == (400, "Missing model name in request.")
    else:
        assert reply.status == 404


@each_style
def test_gzip_bodies_are_accepted(rest: Rest, style: str) -> None:
    """'gzip request bodies accepted'; what is not gzip is no 500."""
    path, headers = f"/v1/models/half_plus_two_{style}:predict", {"Content-Encoding": "gzip"}
    packed = gzip.compress(b'{"instances": [[1.0], [2.0], [5.0]]}')
    reply = rest.ask("POST", path, packed, headers)
    assert (reply.status, reply.json) == (200, Y)
    assert rest.ask("POST", path, b"not gzip", headers).status == 400


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 400),
        ("ftp://a", 400),
        ("http://a.example", 200),
        ("https://a.example", 200),
    ],
)
def test_options_wants_an_origin(rest: Rest, origin: str | None, status: int) -> None:
    """'OPTIONS without an http(s) Origin → 400'."""
    headers = {"Origin": origin} if origin else {}
    reply = rest.ask("OPTIONS", "/v1/models/judge_tf1:predict", None, headers)
    assert reply.status == status


ERRORS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a path that is not there": ("read", {"path": "/none"}, "NOT_FOUND"),
    "a folder": ("read", {"path": "/"}, "FAILED_PRECONDITION"),
    "a kind of file system": ("read", {"path": "headrace://x"}, "UNIMPLEMENTED"),
    "a queue that is closed already": ("closed", {"x": [1.0]}, "CANCELLED"),
    "too few inputs": ("pair", {"a": [1.0]}, "INVALID_ARGUMENT"),
}


@each_style
@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS)
def test_code_becomes_its_status(
    rest: Rest, client: Client, style: str, case: tuple[str, dict[str, Any], str]
) -> None:
    """'Code map': by gRPC the code, by REST its status, of the same failure of a graph.

    429, 503 and 504 are in other tests; 401, 403 and 409 nothing below /v1 can be brought to.
    """
    signature, inputs, code = case
    with pytest.raises(Refusal) as refused:
        client.predict(spec(f"sampler_{style}", signature), inputs)
    assert refused.value.code == code
    body = {"signature_name": signature, "inputs": inputs}
    reply = rest.post(f"/models/sampler_{style}:predict", body)
    assert reply.status == STATUS_OF[code]
    assert reply.error


def test_failure_without_a_code_becomes_500(rest: Rest) -> None:
    """'rest 500': a model in Python that raises, which is INTERNAL."""
    reply = rest.post("/models/python_picky:predict", {"instances": [100.0]})
    assert reply.status == 500
    assert "x is too large" in reply.error


def test_deadline_becomes_504(rest: Rest) -> None:
    """'DEADLINE_EXCEEDED 504'; upstream's rest_api_timeout_in_ms, here also by request."""
    reply = rest.ask(
        "POST",
        "/v1/models/sleepy:predict",
        b'{"instances": [1e9]}',
        {"X-Request-Timeout-Ms": "200"},
    )
    assert reply.status == 504
    assert reply.error


@each_style
@pytest.mark.parametrize(
    "which", ["", "/versions/12", "/labels/stable", "/versions/3/metadata", "/labels/nope/metadata"]
)
def test_not_found_and_invalid_models(rest: Rest, style: str, which: str) -> None:
    """'NOT_FOUND 404': the model is asked for as by gRPC."""
    for verb, path in (("GET", which), ("POST", f"{which}:predict")):
        if path.endswith("metadata:predict"):
            continue
        reply = rest.ask(verb, f"/v1/models/none_{style}{path}", b"{}" if verb == "POST" else None)
        is_label = "labels" in path and (verb == "POST" or "metadata" in path)
        assert reply.status == (400 if is_label else 404)
        assert reply.error


@each_style
def test_status_lists_the_versions(rest: Rest, style: str) -> None:
    """'model_version_status[] with version as *string*, state name, status{error_code,
    error_message}'. Newest first, as 3.3 has it; a label is ignored.
    """

    def available(version: str) -> dict[str, Any]:
        outcome = {"error_code": "OK", "error_message": ""}
        return {"version": version, "state": "AVAILABLE", "status": outcome}

    path = f"/models/judge_{style}"
    both = {"model_version_status": [available("12"), available("3")]}
    assert rest.get(path).json == both
    assert rest.get(f"{path}/labels/stable").json == both
    assert rest.get(f"{path}/versions/3").json == {"model_version_status": [available("3")]}
    assert rest.get(f"{path}/versions/4").status == 404


@each_style
@pytest.mark.parametrize(
    ("which", "version"), [("", "12"), ("/versions/3", "3"), ("/labels/stable", "3")]
)
def test_metadata_are_the_signatures(rest: Rest, style: str, which: str, version: str) -> None:
    """'`model_spec`, `metadata.signature_def.signature_def` (snake_case, int64 as strings)'."""
    reply = rest.get(f"/models/judge_{style}{which}/metadata")
    assert reply.status == 200
    body = reply.json
    spec_ = {"name": f"judge_{style}", "signature_name": "", "version": version}
    assert body["model_spec"] == spec_
    assert list(body) == ["model_spec", "metadata"]
    signature = body["metadata"]["signature_def"]["signature_def"]["regress"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    info = signature["inputs"]["inputs"]
    assert info["dtype"] == "DT_STRING"
    assert info["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    assert info["name"]


def test_predict_signature_that_classifies(rest: Rest, client: Client) -> None:
    """A signature of examples by REST predict, as by gRPC Predict."""
    text = base64.b64encode(serialised(example(x=0.25))[0]).decode()
    body = {"instances": [{"b64": text}], "signature_name": "regress"}
    assert rest.post("/models/judge_tf1:predict", body).json == {"predictions": [0.25]}
    assert client.predict(spec("judge_tf1", "regress"), {"inputs": serialised(example(x=0.25))})
