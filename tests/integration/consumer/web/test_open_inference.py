"""Open Inference's REST API over real models."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import aiohttp
import numpy as np
import pytest

from tests.integration.consumer.web.rig import ask, get, post

pytestmark = pytest.mark.asyncio(loop_scope="module")

HALF = "/v2/models/half_plus_two"
LENGTH = "Inference-Header-Content-Length"


def tensor(datatype: str, shape: list[int], data: list[Any], name: str = "x") -> dict[str, Any]:
    """Return a tensor with its values in JSON."""
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


X = tensor("FP32", [3, 1], [1.0, 2.0, 5.0])


@pytest.mark.parametrize("which", ["", "/versions/3", "/versions/stable"])
async def test_infers_with_values_in_json(real: aiohttp.ClientSession, which: str) -> None:
    """A version is named by its number or a label; the answer has the number and the id."""
    reply = await post(real, f"{HALF}{which}/infer", {"id": "r-1", "inputs": [X]})
    assert (reply.status, reply.body) == (
        200,
        {
            "model_name": "half_plus_two",
            "model_version": "3",
            "id": "r-1",
            "outputs": [tensor("FP32", [3, 1], [2.5, 3.0, 4.5], "y")],
        },
    )
    assert LENGTH not in reply.headers
    assert reply.headers["headrace-version"] == "3"


@pytest.mark.parametrize(
    ("model", "inputs", "outputs"),
    [
        ("upper", [tensor("BYTES", [2], ["a", "b"], "text")], [tensor("BYTES", [2], ["A", "B"])]),
        ("next_int64", [tensor("INT64", [1], [2**62])], [tensor("INT64", [1], [2**62 + 1], "y")]),
        ("total", [tensor("FP32", [2], [1, 2])], [tensor("FP32", [], [3.0])]),
    ],
)
async def test_every_kind_of_tensor_goes_through(
    real: aiohttp.ClientSession, model: str, inputs: list[Any], outputs: list[Any]
) -> None:
    """Strings, whole numbers past 53 bits, and what has no rows."""
    reply = await post(real, f"/v2/models/{model}/infer", {"inputs": inputs})
    assert reply.status == 200, reply
    for found, expected in zip(reply.body["outputs"], outputs, strict=True):
        assert found | {"name": ""} == expected | {"name": ""}


async def test_tensors_travel_packed_behind_the_json(real: aiohttp.ClientSession) -> None:
    """In the request and, where it asks for that, in the answer; other outputs are in the JSON."""
    packed = np.arange(6, dtype=np.float32).tobytes()
    text = json.dumps(
        {
            "inputs": [
                {
                    "name": name,
                    "datatype": "FP32",
                    "shape": [1, 3],
                    "parameters": {"binary_data_size": 12},
                }
                for name in ("a", "b")
            ],
            "outputs": [
                {"name": "sum", "parameters": {"binary_data": True}},
                {"name": "product"},
            ],
        }
    ).encode()
    reply = await post(
        real,
        "/v2/models/sum_and_product/infer",
        text + packed,
        {LENGTH: str(len(text))},
    )
    assert reply.status == 200, reply
    assert reply.headers["Content-Type"] == "application/octet-stream"
    length = int(reply.headers[LENGTH])
    body = json.loads(reply.body[:length])
    assert [output["name"] for output in body["outputs"]] == ["sum", "product"]
    assert body["outputs"][0]["parameters"] == {"binary_data_size": 12}
    assert body["outputs"][1]["data"] == [0.0, 4.0, 10.0]
    assert struct.unpack("<3f", reply.body[length:]) == (3.0, 5.0, 7.0)


async def test_signature_and_outputs_are_chosen_by_the_request(
    real: aiohttp.ClientSession,
) -> None:
    """The signature by the same parameter as over gRPC."""
    body = {
        "inputs": [tensor("INT64", [1], [5])],
        "parameters": {"headrace_signature": "previous"},
    }
    reply = await post(real, "/v2/models/next_int64/infer", body)
    assert reply.body["outputs"][0]["data"] == [4]


async def test_numbers_that_json_has_not_stand_bare(real: aiohttp.ClientSession) -> None:
    """As Triton has them."""
    body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[NaN]}]}'
    reply = await post(real, f"{HALF}/infer", body)
    [value] = reply.body["outputs"][0]["data"]
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "error"),
    [
        ("/v2/models/none/infer", {}, {}, 404, "Servable not found"),
        (f"{HALF}/versions/9/infer", {}, {}, 404, "Servable not found"),
        (f"{HALF}/versions/0/infer", {}, {}, 400, "is no version"),
        (f"{HALF}/versions/none/infer", {}, {}, 400, "Unrecognized servable version label"),
        (f"{HALF}/infer", b"", {}, 400, "not JSON"),
        (f"{HALF}/infer", {}, {}, 400, "missing required field `inputs`"),
        (f"{HALF}/infer", {"inputs": []}, {}, 400, "missing: x"),
        (f"{HALF}/infer", {"inputs": [X | {"datatype": "FP64"}]}, {}, 400, "expects float32"),
        (f"{HALF}/infer", {"inputs": [X], "outputs": [{"name": "z"}]}, {}, 400, "alias not found"),
        (
            f"{HALF}/infer",
            {"inputs": [X], "parameters": {"headrace_signature": "none"}},
            {},
            400,
            'Serving signature name: "none" not found',
        ),
        (f"{HALF}/infer", b"{}", {LENGTH: "3"}, 400, f"{LENGTH} is '3'"),
        (f"{HALF}/infer", b"{}", {LENGTH: "-1"}, 400, f"{LENGTH} is '-1'"),
        (f"{HALF}/infer", b"{}", {LENGTH: "9" * 5000}, 400, f"{LENGTH} is '9999"),
        (f"{HALF}/infer", b"{}", {LENGTH: "0"}, 400, "not JSON"),
    ],
)
async def test_error_has_the_status_of_its_code(  # noqa: PLR0917 - the columns of the table
    real: aiohttp.ClientSession,
    path: str,
    body: object,
    headers: dict[str, str],
    status: int,
    error: str,
) -> None:
    """And is an object with the single key `error`."""
    reply = await post(real, path, body, headers)
    assert reply.status == status
    assert list(reply.body) == ["error"]
    assert error in reply.body["error"]


async def test_model_is_described_in_the_protocols_words(real: aiohttp.ClientSession) -> None:
    """Whichever version is asked, `versions` are those that serve."""
    x, y = ({"name": name, "datatype": "FP32", "shape": [-1, 1]} for name in "xy")
    for which in ("", "/versions/3"):
        reply = await get(real, f"{HALF}{which}")
        assert (reply.status, reply.body) == (
            200,
            {
                "name": "half_plus_two",
                "versions": ["3"],
                "platform": "tensorflow_savedmodel",
                "inputs": [x],
                "outputs": [y],
            },
        )


async def test_server_says_what_it_is(real: aiohttp.ClientSession) -> None:
    """With the extensions that clients look for."""
    reply = await get(real, "/v2")
    assert reply.status == 200
    assert reply.body["name"] == "headrace"
    assert reply.body["extensions"] == ["binary_tensor_data", "model_repository"]


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/v2/health/live", 200, {"live": True}),
        ("/v2/health/ready", 200, {"ready": True}),
        (f"{HALF}/ready", 200, {"name": "half_plus_two", "ready": True}),
        (f"{HALF}/versions/3/ready", 200, {"name": "half_plus_two", "ready": True}),
        ("/v2/models/a%2Fb%3Ac/ready", 200, {"name": "a/b:c", "ready": True}),
        (
            f"{HALF}/versions/4/ready",
            404,
            {"error": "Servable not found for request: Specific(half_plus_two, 4)"},
        ),
        ("/v2/nonsense", 404, {"error": "Not Found: GET /v2/nonsense"}),
    ],
)
async def test_says_what_lives_and_what_is_ready(
    real: aiohttp.ClientSession, path: str, status: int, body: object
) -> None:
    """By the status, which is what clients look at, and in words."""
    reply = await get(real, path)
    assert (reply.status, reply.body) == (status, body)


async def test_wrong_verb_says_which_are_allowed(real: aiohttp.ClientSession) -> None:
    """Unlike below /v1/, whose upstream has a status of its own for it."""
    reply = await ask(real, "GET", f"{HALF}/infer")
    assert (reply.status, reply.headers["Allow"]) == (405, "POST")
