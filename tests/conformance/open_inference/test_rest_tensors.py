"""Tensors of Open Inference over REST, in JSON and packed, by plain HTTP."""

from __future__ import annotations

import json
import struct

import pytest

from tests.conformance.open_inference.kinds import KINDS
from tests.conformance.open_inference.models import EVERY_KIND, HALF_PLUS_TWO
from tests.conformance.open_inference.rest import JSON_LENGTH, Ask, tensor


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", EVERY_KIND)
def test_datatype(ask: Ask, name: str, kind: str) -> None:
    """Every datatype in JSON, there and back."""
    of = KINDS[kind]
    values: list[object] = list(of.values)
    if of.datatype == "BYTES":
        values = ["", "ü", "a" * 300, "\x00"]
    body = {
        "inputs": [tensor("x", of.datatype, [2, 2], values)],
        "outputs": [{"name": "column"}, {"name": "same"}],
        "parameters": {"headrace_signature": of.signature},
    }
    answer = ask("POST", f"/v2/models/{name}/infer", body)
    assert answer.status == 200, answer.body
    column, same = answer.json["outputs"]
    assert (column["datatype"], column["shape"]) == (of.datatype, [2])
    assert (same["datatype"], same["shape"]) == (of.datatype, [2, 2])
    if of.datatype == "BYTES":
        assert (column["data"], same["data"]) == (values[::2], values)
    else:
        # Floats come with the digits that tell them apart, so only as packed are they equal.
        assert of.pack(column["data"]) == of.pack(values[::2])
        assert of.pack(same["data"]) == of.pack(values)


@pytest.mark.parametrize("whole_answer", [True, False], ids=["binary_data_output", "binary_data"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", EVERY_KIND)
def test_binary_tensor_data(ask: Ask, name: str, kind: str, whole_answer: bool) -> None:
    """Raw rules are written down for the REST binary extension: the same bytes as over gRPC."""
    of = KINDS[kind]
    given = {"name": "x", "datatype": of.datatype, "shape": [2, 2]}
    parameters: dict[str, object] = {"headrace_signature": of.signature}
    outputs: list[dict[str, object]] = [{"name": "same"}, {"name": "column"}]
    if whole_answer:
        parameters["binary_data_output"] = True
    else:
        outputs[0]["parameters"] = {"binary_data": True}
        del outputs[1]
    body = {
        "inputs": [given | {"parameters": {"binary_data_size": len(of.raw)}}],
        "outputs": outputs,
        "parameters": parameters,
    }
    head = json.dumps(body).encode()
    headers = {JSON_LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
    answer = ask("POST", f"/v2/models/{name}/infer", head + of.raw, headers)
    assert answer.status == 200, answer.body
    length = int(answer.headers[JSON_LENGTH.lower()])
    found = json.loads(answer.body[:length])["outputs"]
    packed = [of.raw, of.pack(of.values[::2])][: len(outputs)]
    assert [each["parameters"]["binary_data_size"] for each in found] == [len(p) for p in packed]
    assert answer.body[length:] == b"".join(packed)


@pytest.mark.parametrize(
    ("size", "extra"), [(8, b""), (16, b""), (12, b"!")], ids=["too few", "too many", "left over"]
)
def test_binary_sizes_that_do_not_fit(ask: Ask, size: int, extra: bytes) -> None:
    """Byte length must equal product(shape)×size."""
    given = {
        "name": "x",
        "datatype": "FP32",
        "shape": [3, 1],
        "parameters": {"binary_data_size": size},
    }
    head = json.dumps({"inputs": [given]}).encode()
    body = head + struct.pack("<3f", 1, 2, 5) + extra
    answer = ask("POST", "/v2/models/tf2/infer", body, {JSON_LENGTH: str(len(head))})
    assert answer.status == 400
    assert list(answer.json) == ["error"]


@pytest.mark.parametrize("name", HALF_PLUS_TWO)
def test_large_body(ask: Ask, name: str) -> None:
    """Larger than 4 MiB, in both directions."""
    rows = 2**20 + 2**18
    given = {
        "name": "x",
        "datatype": "FP32",
        "shape": [rows, 1],
        "parameters": {"binary_data_size": 4 * rows},
    }
    head = json.dumps({"inputs": [given], "parameters": {"binary_data_output": True}}).encode()
    answer = ask(
        "POST", f"/v2/models/{name}/infer", head + bytes(4 * rows), {JSON_LENGTH: str(len(head))}
    )
    assert answer.status == 200
    length = int(answer.headers[JSON_LENGTH.lower()])
    assert answer.body[length:] == struct.pack("<f", 2.0) * rows
