"""TensorFlow Serving's REST API over real models, asked as its clients do."""

from __future__ import annotations

import gzip
import json
import math
from typing import Any

import aiohttp
import pytest

from tests.integration.consumer.web.rig import ask, get, post

pytestmark = pytest.mark.asyncio(loop_scope="module")

HALF = "/v1/models/half_plus_two"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/half_plus_two:predict",
        "/v1/models/half_plus_two/versions/3:predict",
        "/v1/models/half_plus_two/labels/stable:predict",
        "/V1/Models/half_plus_two/VERSIONS/03:Predict",
        "/v1/models/half%5Fplus_two:predict",
        "/v1/models/half_plus_two_tf1:predict",
        "/v1/models/a%2Fb%3Ac:predict",
    ],
)
async def test_every_way_to_name_a_version_leads_to_it(
    real: aiohttp.ClientSession, path: str
) -> None:
    """Words of the path in any case, names percent-encoded."""
    reply = await post(real, path, {"instances": [[1.0], [2.0], [5.0]]})
    assert (reply.status, reply.body) == (200, {"predictions": [[2.5], [3.0], [4.5]]})


@pytest.mark.parametrize(
    ("model", "body", "answer"),
    [
        ("half_plus_two", {"inputs": [[1.0]]}, {"outputs": [[2.5]]}),
        ("half_plus_two", {"inputs": {"x": [[1]]}}, {"outputs": [[2.5]]}),
        (
            "sum_and_product",
            {"instances": [{"a": [1, 2, 3], "b": [4, 5, 6]}]},
            {"predictions": [{"product": [4.0, 10.0, 18.0], "sum": [5.0, 7.0, 9.0]}]},
        ),
        (
            "sum_and_product",
            {"inputs": {"a": [[1, 2, 3]], "b": [[4, 5, 6]]}},
            {"outputs": {"product": [[4.0, 10.0, 18.0]], "sum": [[5.0, 7.0, 9.0]]}},
        ),
        ("upper", {"instances": ["ab", {"b64": "YmM="}]}, {"predictions": ["AB", "BC"]}),
        ("next_int64", {"instances": [2**62]}, {"predictions": [2**62 + 1]}),
        ("next_int64", {"signature_name": "previous", "instances": [1]}, {"predictions": [0]}),
        ("total", {"inputs": [1, 2]}, {"outputs": 3.0}),
    ],
)
async def test_rows_are_answered_in_rows_and_columns_in_columns(
    real: aiohttp.ClientSession, model: str, body: object, answer: object
) -> None:
    """With several inputs and outputs, strings, bytes, whole numbers and other signatures."""
    reply = await post(real, f"/v1/models/{model}:predict", body)
    assert (reply.status, reply.body) == (200, answer)


async def test_numbers_that_json_has_not_go_in_and_out_bare(real: aiohttp.ClientSession) -> None:
    """As TensorFlow Serving has them."""
    reply = await post(real, f"{HALF}:predict", b'{"instances": [[NaN], [Infinity], [-Infinity]]}')
    [[nan], *rest] = reply.body["predictions"]
    assert math.isnan(nan)
    assert rest == [[math.inf], [-math.inf]]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
async def test_content_type_of_a_request_does_not_matter(
    real: aiohttp.ClientSession, content_type: str
) -> None:
    """`curl -d` sends the wrong one."""
    reply = await post(
        real, f"{HALF}:predict", b'{"instances": [[1.0]]}', {"Content-Type": content_type}
    )
    assert reply.body == {"predictions": [[2.5]]}


async def test_compressed_bodies_are_read(real: aiohttp.ClientSession) -> None:
    """gzip, as upstream takes it."""
    body = gzip.compress(json.dumps({"instances": [[1.0]]}).encode())
    reply = await post(real, f"{HALF}:predict", body, {"Content-Encoding": "gzip"})
    assert reply.body == {"predictions": [[2.5]]}


async def test_body_that_is_not_compressed_as_it_says_is_refused(
    real: aiohttp.ClientSession,
) -> None:
    """It is the client's mistake, in words."""
    reply = await post(real, f"{HALF}:predict", b"{}", {"Content-Encoding": "gzip"})
    assert reply.status == 400
    assert "the body cannot be read" in reply.body["error"]


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("none:predict", {}, 404, "Servable not found for request: Latest(none)"),
        (
            "half_plus_two/versions/9:predict",
            {},
            404,
            "Servable not found for request: Specific(half_plus_two, 9)",
        ),
        ("half_plus_two/versions/0:predict", {}, 404, "Specific(half_plus_two, 0)"),
        ("half_plus_two/labels/canary:predict", {}, 400, "Unrecognized servable version label"),
        ("half_plus_two/versions/3/labels/stable:predict", {}, 400, "Malformed request: POST /v1"),
        ("half_plus_two:infer", {}, 400, "Malformed request: POST /v1/models/half_plus_two:infer"),
        ("half_plus_two", {}, 400, "Malformed request: POST /v1/models/half_plus_two"),
        (f"half_plus_two/versions/{2**63}:predict", {}, 400, "Malformed request"),
        ("half_plus_two:predict", b"", 400, "not JSON"),
        ("half_plus_two:predict", b"{", 400, "not JSON"),
        ("half_plus_two:predict", b"[1]", 400, "expected a JSON object"),
        ("half_plus_two:predict", {}, 400, "either 'instances' (rows) or 'inputs' (columns)"),
        ("half_plus_two:predict", {"instances": []}, 400, "one element at least"),
        ("half_plus_two:predict", {"instances": ["a"]}, 400, "expects float32"),
        ("half_plus_two:predict", {"instances": [[1], [1, 2]]}, 400, "different lengths"),
        (
            "half_plus_two:predict",
            {"signature_name": "none", "instances": [[1]]},
            400,
            'Serving signature name: "none" not found in signature def',
        ),
        ("picky:predict", {"instances": [100.0]}, 400, "100"),
        ("total:predict", {"instances": [1.0]}, 400, "ask in columns"),
    ],
)
async def test_error_has_the_status_of_its_code(
    real: aiohttp.ClientSession, path: str, body: object, status: int, error: str
) -> None:
    """And is an object with the single key `error`."""
    reply = await post(real, f"/v1/models/{path}", body)
    assert reply.status == status
    assert list(reply.body) == ["error"]
    assert error in reply.body["error"]


@pytest.mark.parametrize("verb", ["PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
async def test_other_verbs_are_malformed_requests(real: aiohttp.ClientSession, verb: str) -> None:
    """As upstream has it, below /v1/."""
    reply = await ask(real, verb, f"{HALF}:predict")
    expected = {"error": f"Malformed request: {verb} {HALF}:predict"}
    assert (reply.status, reply.body) == (400, expected)


async def test_answer_says_where_it_comes_from(real: aiohttp.ClientSession) -> None:
    """Also when it is an error of the model."""
    for value, status in ((1.0, 200), (100.0, 400)):
        reply = await post(real, "/v1/models/picky:predict", {"instances": [value]})
        assert reply.status == status
        assert reply.headers["headrace-model"] == "picky"
        assert reply.headers["headrace-version"] == "1"
        assert reply.headers["headrace-control-offset"] == "0"
        assert reply.headers["headrace-artifact-digest"].startswith("sha256:")
        assert reply.headers["headrace-node"] == "node-1"


async def test_client_bounds_the_time_of_its_request(real: aiohttp.ClientSession) -> None:
    """A run that takes longer ends in 504."""
    reply = await post(
        real, "/v1/models/sleepy:predict", {"instances": [1e9]}, {"x-request-timeout-ms": "300"}
    )
    assert reply.status == 504
    assert list(reply.body) == ["error"]


def tensor(name: str, dtype: str, *sizes: int) -> dict[str, Any]:
    """Return a TensorInfo as upstream prints it."""
    dims = [{"size": str(size), "name": ""} for size in sizes]
    return {
        "name": name,
        "dtype": dtype,
        "tensor_shape": {"dim": dims, "unknown_rank": False},
    }


@pytest.mark.parametrize("which", ["", "/versions/3", "/labels/stable"])
async def test_metadata_is_printed_as_upstream_prints_it(
    real: aiohttp.ClientSession, which: str
) -> None:
    """Numbers of 64 bits are strings, empty fields are there, enums have names."""
    reply = await get(real, f"{HALF}{which}/metadata")
    assert reply.status == 200
    assert reply.body["model_spec"] == {
        "name": "half_plus_two",
        "signature_name": "",
        "version": "3",
    }
    [(name, signature)] = reply.body["metadata"]["signature_def"]["signature_def"].items()
    assert name == "serving_default"
    feed = signature["inputs"]["x"]["name"]
    assert signature["inputs"] == {"x": tensor(feed, "DT_FLOAT", -1, 1)}
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["defaults"] == {}


@pytest.mark.parametrize(
    ("path", "status"), [("/none/metadata", 404), ("/half_plus_two/labels/none/metadata", 400)]
)
async def test_metadata_of_what_does_not_serve_is_an_error(
    real: aiohttp.ClientSession, path: str, status: int
) -> None:
    """The same errors as for inference."""
    reply = await get(real, f"/v1/models{path}")
    assert reply.status == status
    assert list(reply.body) == ["error"]


async def test_label_is_ignored_in_the_status(real: aiohttp.ClientSession) -> None:
    """As TensorFlow Serving ignores it."""
    whole = await get(real, HALF)
    assert whole.status == 200
    assert (await get(real, f"{HALF}/labels/stable")).body == whole.body
