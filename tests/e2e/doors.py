"""Every door of a node behind one question: foreign clients, each in its own way, and what they
are told of an answer's origin.
"""

from __future__ import annotations

import json
import struct
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import aiohttp
import numpy as np
from grpc import aio

from headrace.protos import tensorflow_pb2
from headrace.protos.open_inference_pb2 import ModelInferResponse
from headrace.protos.tensorflow_serving_pb2 import PredictResponse
from headrace.publisher.clients import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from headrace.publisher.topics import partition_counts
from headrace.schemas.codec import decode, encode
from headrace.schemas.records import InferenceRequest, InferenceResponse
from headrace.schemas.tensors import to_tensor
from tests.e2e.rig import NodeProcess, Site
from tests.integration.consumer.rpc.official import PredictRequest, prediction_stub
from tests.integration.consumer.rpc.triton import messages, stub

PREDICT: Final = "application/x-protobuf;proto=tensorflow.serving.PredictRequest"
INFER: Final = "application/x-protobuf;proto=inference.ModelInferRequest"
SYNCHRONOUS: Final = ("grpc predict", "grpc infer", "rest v1", "rest v2")
KAFKA: Final = ("kafka avro", "kafka key", "kafka predict", "kafka infer", "kafka json")
DOORS: Final = (*SYNCHRONOUS, *KAFKA)


@dataclass(frozen=True)
class Question:
    """What is asked of half plus two, at 4."""

    model: str
    affinity: str | None = None
    min_offset: int | None = None
    version: int | None = None
    label: str | None = None
    seconds: float = 30

    def headers(self) -> dict[str, str]:
        """Return what every door takes as a header or an entry of metadata."""
        named = {"affinity": self.affinity, "min-control-offset": self.min_offset}
        return {name: str(value) for name, value in named.items() if value is not None}


@dataclass(frozen=True)
class Told:
    """What came back: a code, the model that the body names, the words of an error, the origin."""

    code: str
    model: str
    words: str
    origin: Mapping[str, str]

    @property
    def arm(self) -> str:
        """The arm that led to the version."""
        return self.origin.get("arm", "")

    @property
    def version(self) -> int:
        """The version that answered."""
        assert self.code == "OK", self
        return int(self.origin["version"])


class Doors:
    """Clients of one node, and of its deployment's Kafka topics.

    **Concurrency:** one event loop; the Kafka doors one question at a time.
    """

    def __init__(
        self, site: Site, channel: aio.Channel, session: aiohttp.ClientSession, kafka: Kafka
    ) -> None:
        self._site = site
        self._predict = prediction_stub(channel)
        self._infer = stub(channel)
        self._session = session
        self._kafka = kafka

    async def ask(self, door: str, question: Question) -> Told:
        """Ask by one door."""
        match door.split():
            case ["grpc", "predict"]:
                return await self._grpc(self._predict.Predict, predict_request(question), question)
            case ["grpc", _]:
                return await self._grpc(self._infer.ModelInfer, infer_request(question), question)
            case ["rest", api]:
                return await self._rest(api, question)
            case [_, encoding]:
                return await self._kafka.ask(encoding, question)
            case _:
                raise AssertionError(door)

    async def _grpc(self, method: Any, request: Any, question: Question) -> Told:  # noqa: ANN401 - foreign stubs
        call = method(request, metadata=list(question.headers().items()), timeout=question.seconds)
        try:
            answer = await call
            named = answer.model_spec.name if hasattr(answer, "model_spec") else answer.model_name
        except aio.AioRpcError:
            named = ""
        trailing: Mapping[str, str] = await call.trailing_metadata() or {}
        pairs = [pair.split("=", 1) for pair in trailing.get("headrace-provenance", "").split()]
        origin = {name: unquote(text) for name, text in pairs}
        return Told((await call.code()).name, named, await call.details() or "", origin)

    async def _rest(self, api: str, question: Question) -> Told:
        which = ""
        if question.version is not None:
            which = f"/versions/{question.version}"
        elif question.label is not None:
            which = f"/{'labels' if api == 'v1' else 'versions'}/{question.label}"
        verb = ":predict" if api == "v1" else "/infer"
        headers = {**question.headers(), "x-request-timeout-ms": str(int(question.seconds * 1000))}
        async with self._session.post(
            f"/{api}/models/{question.model}{which}{verb}",
            json=rows() if api == "v1" else tensors(),
            headers=headers,
        ) as reply:
            body: dict[str, Any] = await reply.json()
            found = {name.lower(): value for name, value in reply.headers.items()}
        origin = {
            name.removeprefix("headrace-"): unquote(value)
            for name, value in found.items()
            if name.startswith("headrace-")
        }
        codes = {200: "OK", 400: "FAILED_PRECONDITION", 404: "NOT_FOUND", 503: "UNAVAILABLE"}
        # The body of TensorFlow Serving's API names no model.
        named = body.get("model_name", origin.get("model", ""))
        return Told(codes[reply.status], named, body.get("error", ""), origin)


class Kafka:
    """Asks over the request topic, and reads the response topic from where it ends.

    **Concurrency:** one question at a time.
    """

    def __init__(self, site: Site, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer) -> None:
        self._site = site
        self._producer = producer
        self._consumer = consumer

    async def ask(self, encoding: str, question: Question) -> Told:
        """Ask in one of the encodings; `key` is Avro, with the affinity for the record's key."""
        correlation = uuid.uuid4().hex
        headers = {**question.headers(), "correlation-id": correlation}
        headers["deadline-ms"] = str(int((time.time() + question.seconds) * 1000))
        key: bytes | None = None
        if encoding == "key":
            key = headers.pop("affinity", "").encode() or None
        value, extra = _record(encoding, question)
        encoded = [(name, text.encode()) for name, text in (headers | extra).items()]
        topic = self._site.topics.requests
        await (await self._producer.send(topic, value=value, key=key, headers=encoded))
        while True:
            for found in (await self._consumer.getmany(timeout_ms=100)).values():
                for message in found:
                    told = {name: raw.decode() for name, raw in message.headers}
                    if told.get("correlation-id") == correlation:
                        return _read(encoding, message.value or b"", told)


def _record(encoding: str, question: Question) -> tuple[bytes, dict[str, str]]:
    match encoding:
        case "predict":
            return predict_request(question).SerializeToString(), {"content-type": PREDICT}
        case "infer":
            return infer_request(question).SerializeToString(), {"content-type": INFER}
        case "json":
            route = {"model": question.model, "content-type": "application/json"}
            if question.version is not None:
                route["version"] = str(question.version)
            if question.label is not None:
                route["label"] = question.label
            return json.dumps(rows()).encode(), route
        case _:
            request = InferenceRequest(
                model=question.model,
                version=question.version,
                label=question.label,
                inputs=(to_tensor("x", np.array([[4.0]], np.float32)),),
            )
            return encode(request), {}


def _read(encoding: str, value: bytes, origin: dict[str, str]) -> Told:
    code = origin.get("error-code", "OK")
    named, words = origin.get("model", ""), ""
    if encoding in {"avro", "key"}:
        answer = decode(value, InferenceResponse)
        named, words = answer.model, answer.error.message if answer.error else ""
    elif code == "OK" and encoding == "predict":
        named = PredictResponse.FromString(value).model_spec.name
    elif code == "OK" and encoding == "infer":
        named = ModelInferResponse.FromString(value).model_name
    elif code != "OK":
        # A google.rpc.Status has its words in it as they are.
        words = str(json.loads(value)) if encoding == "json" else value.decode(errors="replace")
    return Told(code, named, words, origin)


def predict_request(question: Question) -> Any:  # noqa: ANN401 - the official message
    """Return TensorFlow Serving's request."""
    request = PredictRequest()
    request.model_spec.name = question.model
    if question.version is not None:
        request.model_spec.version.value = question.version
    if question.label is not None:
        request.model_spec.version_label = question.label
    tensor = request.inputs["x"]
    tensor.dtype = tensorflow_pb2.DT_FLOAT
    tensor.float_val.append(4.0)
    for _ in range(2):
        tensor.tensor_shape.dim.add(size=1)
    return request


def infer_request(question: Question) -> Any:  # noqa: ANN401 - Triton's message
    """Return Open Inference's request."""
    which = question.label or ("" if question.version is None else str(question.version))
    request = messages.ModelInferRequest(model_name=question.model, model_version=which)
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1])
    request.raw_input_contents.append(struct.pack("<f", 4.0))
    return request


def rows() -> object:
    """Return the body of TensorFlow Serving's REST API."""
    return {"instances": [[4.0]]}


def tensors() -> object:
    """Return the body of Open Inference's REST API."""
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [4.0]}]}


@asynccontextmanager
async def doors(site: Site, node: NodeProcess) -> AsyncGenerator[Doors]:
    """Open clients of a node."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        channel = await enter(aio.insecure_channel(f"127.0.0.1:{await node.port()}"))
        base = f"http://127.0.0.1:{await node.port('http')}"
        session = await enter(aiohttp.ClientSession(base))
        producer = await enter(site.connection.producer())
        consumer = await enter(site.connection.consumer(isolation_level="read_committed"))
        topic = site.topics.responses
        width = (await partition_counts(site.connection, [topic]))[topic]
        partitions = [TopicPartition(topic, number) for number in range(width)]
        consumer.assign(partitions)
        for partition, end in (await consumer.end_offsets(partitions)).items():
            consumer.seek(partition, end)
        yield Doors(site, channel, session, Kafka(site, producer, consumer))
