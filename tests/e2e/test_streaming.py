"""A whole node as streaming clients see it: formats side by side, claims, stuck models."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from headrace.consumer.stream.content import ACCEPTED, AVRO_TYPE, STATUS_TYPE
from headrace.protos.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from headrace.protos.rpc_status_pb2 import Status
from headrace.protos.tensorflow_pb2 import DataType
from headrace.protos.tensorflow_serving_pb2 import PredictRequest, PredictResponse
from headrace.publisher import InferenceClient, InferenceFailed, KafkaConnection
from headrace.publisher.clients import murmur2
from headrace.schemas.codec import decode, encode
from headrace.schemas.records import InferenceRequest, InferenceResponse
from headrace.schemas.tensors import from_tensor, to_tensor
from tests.e2e.rig import Site, deployment
from tests.fakes.correspondent import Ask, correspondent, headers_of
from tests.models import model

PREDICT = "application/x-protobuf;proto=tensorflow.serving.PredictRequest"
INFER = "application/x-protobuf;proto=inference.ModelInferRequest"
PARTITIONS = 8

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def site(bootstrap_servers: str, unique_name: str, tmp_path: Path) -> Site:
    """A deployment of this test's own on the shared broker."""
    return Site(KafkaConnection(bootstrap_servers), unique_name, tmp_path)


def floats(*values: float) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


def avro(x: float, name: str = "m") -> bytes:
    tensor = to_tensor("x", np.array([[x]], np.float32))
    return encode(InferenceRequest(model=name, inputs=[tensor]))


def predict(x: float, name: str = "m") -> bytes:
    request = PredictRequest()
    request.model_spec.name = name
    tensor = request.inputs["x"]
    tensor.dtype = DataType.DT_FLOAT
    tensor.tensor_shape.dim.add(size=1)
    tensor.tensor_shape.dim.add(size=1)
    tensor.float_val.append(x)
    return request.SerializeToString()


def infer(x: float, name: str = "m") -> bytes:
    request = ModelInferRequest(model_name=name, id=f"request-{x}")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1])
    request.raw_input_contents.append(struct.pack("<f", x))
    return request.SerializeToString()


def body(x: float) -> bytes:
    return json.dumps({"instances": [[x]]}).encode()


def asks(numbers: range) -> list[Ask]:
    """Return requests in all formats by turns; each number is asked once."""
    found: list[Ask] = []
    for n in numbers:
        value, headers = [
            (avro(n), []),
            (predict(n), [("content-type", PREDICT.encode())]),
            (infer(n), [("content-type", INFER.encode())]),
            (body(n), [("content-type", b"application/json"), ("model", b"m")]),
        ][n % 4]
        correlation = ("correlation-id", b"%d" % n)
        found.append(Ask(value=value, partition=n % 2, headers=[correlation, *headers]))
    return found


def answered(value: bytes, content_type: bytes | None) -> float:
    """Return the number in an answer of any format."""
    match content_type:
        case None:
            return float(from_tensor(decode(value, InferenceResponse).outputs[0])[0, 0])
        case b"application/x-protobuf;proto=tensorflow.serving.PredictResponse":
            return PredictResponse.FromString(value).outputs["y"].float_val[0]
        case b"application/x-protobuf;proto=inference.ModelInferResponse":
            response = ModelInferResponse.FromString(value)
            assert response.id.startswith("request-")
            (number,) = struct.unpack("<f", response.raw_output_contents[0])
            return float(number)
        case _:
            return float(json.loads(value)["predictions"][0][0])


async def test_formats_on_one_topic_are_answered_each_in_its_own(site: Site) -> None:
    """Four formats by turns, one model: every answer in the request's format, in order."""
    async with deployment(site) as (_, publisher), correspondent(site.connection) as client:
        await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")
        await client.ask(site.topics.requests, asks(range(200)))
        found = await client.read(site.topics.responses, 200)
    for partition in (0, 1):
        mine = [headers_of(m) for m in found if m.partition == partition]
        assert [int(h["correlation-id"]) for h in mine] == list(range(partition, 200, 2))
    assert {h["version"] for h in map(headers_of, found)} == {b"1"}
    for message in found:
        headers = headers_of(message)
        number = answered(message.value or b"", headers.get("content-type"))
        assert number == int(headers["correlation-id"]) / 2 + 2


async def test_errors_come_in_the_format_of_the_request(site: Site) -> None:
    """The code is in a header for all, and in the value as each format has it."""
    headers = [None, PREDICT, INFER, "application/json", "text/plain"]
    values = [avro(1, "no"), predict(1, "no"), infer(1, "no"), body(1), b"?"]
    requests = [
        Ask(
            value=value,
            headers=[
                ("correlation-id", b"%d" % n),
                ("model", b"no"),
                *([("content-type", kind.encode())] if kind else []),
            ],
        )
        for n, (kind, value) in enumerate(zip(headers, values, strict=True))
    ]
    async with deployment(site), correspondent(site.connection) as client:
        await client.ask(site.topics.requests, requests)
        found = await client.read(site.topics.responses, 5)
        letters = await client.read(site.topics.dead_letters, 1)
    codes = [headers_of(message)["error-code"] for message in found]
    assert codes == [*[b"NOT_FOUND"] * 4, b"INVALID_ARGUMENT"]
    first, *protobufs, told, unknown = [message.value or b"" for message in found]
    error = decode(first, InferenceResponse).error
    assert error is not None
    assert error.code == "NOT_FOUND"
    assert [Status.FromString(value).code for value in protobufs] == [5, 5]
    assert headers_of(found[1])["content-type"] == STATUS_TYPE
    assert "Servable not found" in json.loads(told)["error"]
    refusal = decode(unknown, InferenceResponse).error
    assert refusal is not None
    assert all(
        accepted in refusal.message for accepted in ACCEPTED if AVRO_TYPE.decode() != accepted
    )
    assert (letters[0].value, headers_of(letters[0])["content-type"]) == (b"?", b"text/plain")


async def test_claims_are_followed_into_allowed_stores_only(site: Site) -> None:
    """A request too large for its topic is answered like any other; a foreign place is refused."""
    allowed, foreign = site.folder / "allowed", site.folder / "foreign"
    rows = np.arange(5000, dtype=np.float32).reshape(-1, 1)
    async with deployment(site, claim_stores=allowed.as_uri()) as (_, publisher):
        await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")
        for store, code in ((allowed, None), (foreign, "INVALID_ARGUMENT")):
            async with InferenceClient(
                site.connection,
                topics=site.topics,
                max_request_bytes=2000,
                claim_store=store.as_uri(),
            ) as client:
                if code is None:
                    answer = await client.infer("m", {"x": rows})
                    assert np.array_equal(answer.outputs["y"], rows / 2 + 2)
                else:
                    with pytest.raises(InferenceFailed, match="claim_stores") as raised:
                        await client.infer("m", {"x": rows})
                    assert raised.value.code == code


async def test_a_stuck_model_delays_only_its_partition_and_only_to_its_deadline(site: Site) -> None:
    """Other keys are answered meanwhile; its own next request is, once the deadline has passed."""
    key = b"stuck"
    mine = (murmur2(key) & 0x7FFFFFFF) % PARTITIONS
    others = [
        other for n in range(100) if (murmur2(other := b"%d" % n) & 0x7FFFFFFF) % PARTITIONS != mine
    ]
    async with deployment(site) as (_, publisher), site.client() as client:
        await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")
        await publisher.publish("s", 1, model("sleepy"), wait="fleet")
        began = time.monotonic()
        stuck = asyncio.create_task(client.infer("s", {"seconds": floats(1e9)}, key=key, timeout=8))
        asked = [("m", {"x": floats(1.0).reshape(1, 1)})] * len(others)
        answers = await client.infer_many(asked, keys=others, timeout=7)
        assert not stuck.done()
        assert not [answer for answer in answers if isinstance(answer, InferenceFailed)]
        with pytest.raises(InferenceFailed, match="DEADLINE_EXCEEDED"):
            await stuck
        assert time.monotonic() - began >= 7.5
        after = await client.infer("s", {"seconds": floats(0.0)}, key=key, timeout=30)
        assert after.outputs["seconds"].tolist() == [0.0]
