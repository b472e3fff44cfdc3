"""A whole serving node as its own process, and clients of every door, for end-to-end tests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from grpc import aio

from headrace.protos import tensorflow_pb2, tensorflow_serving_pb2
from headrace.publisher import InferenceClient, KafkaConnection, ModelPublisher
from headrace.schemas.topics import Topics

Event = dict[str, Any]


@dataclass
class NodeProcess:
    """A running node: what it logs, and how to end it."""

    process: asyncio.subprocess.Process
    events: list[Event] = field(default_factory=list[Event])
    plain: list[str] = field(default_factory=list[str])
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> None:
        """Collect what the node logs until it ends."""
        assert self.process.stderr
        async for line in self.process.stderr:
            text = line.decode().rstrip()
            try:
                event = json.loads(text)
            except json.JSONDecodeError:
                self.plain.append(text)
            else:
                self.events.append(event)
            self.changed.set()

    async def event(
        self, name: str, timeout: float = 60, occurrence: int = 1, **keys: object
    ) -> Event:
        """Wait for the n-th logged event with these keys, also one that is past."""
        seen = 0
        try:
            async with asyncio.timeout(timeout):
                while True:
                    for entry in self.events[seen:]:
                        if entry["event"] == name and keys.items() <= entry.items():
                            occurrence -= 1
                            if not occurrence:
                                return entry
                    seen = len(self.events)
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"no {name} {keys} within {timeout} s; the node said: {self.events[-15:]} "
                f"{self.plain[-5:]}"
            ) from None

    async def port(self, door: str = "grpc") -> int:
        """Return the port that a door listens on."""
        return int((await self.event("node.started"))[f"{door}_port"])

    async def ready(self) -> None:
        """Wait until the node is ready."""
        await self.event("node.ready")

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal the node and return its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(60):
            return await self.process.wait()


@dataclass(frozen=True)
class Site:
    """Where one test's deployment lives: its own topics, group, store and cache."""

    connection: KafkaConnection
    name: str
    folder: Path

    @property
    def topics(self) -> Topics:
        """The topics of this test alone."""
        return Topics(
            control=f"{self.name}.control",
            status=f"{self.name}.status",
            requests=f"{self.name}.requests",
            responses=f"{self.name}.responses",
            dead_letters=f"{self.name}.dead-letters",
            shadow=f"{self.name}.shadow",
        )

    def arguments(self, **settings: object) -> list[str]:
        """Return a node's command line."""
        chosen: Mapping[str, object] = {
            "bootstrap_servers": self.connection.bootstrap_servers,
            "host": "127.0.0.1",
            "grpc_port": 0,
            "http_port": 0,
            "group": self.name,
            "node_id": f"{self.name}-node",
            "control_topic": self.topics.control,
            "status_topic": self.topics.status,
            "request_topic": self.topics.requests,
            "response_topic": self.topics.responses,
            "dead_letter_topic": self.topics.dead_letters,
            "shadow_topic": self.topics.shadow,
            "cache_dir": self.folder / "cache",
            "heartbeat_seconds": 0.5,
            "first_backoff_seconds": 0.05,
            "max_backoff_seconds": 0.1,
            "log_format": "json",
        } | settings
        return [_argument(name.replace("_", "-"), value) for name, value in chosen.items()]

    @asynccontextmanager
    async def node(self, **settings: object) -> AsyncGenerator[NodeProcess, None]:
        """Run a node; kill it if the test has not ended it."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "headrace.consumer",
            *self.arguments(**settings),
            stderr=asyncio.subprocess.PIPE,
            env={k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")},
        )
        node = NodeProcess(process)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(node.read())
            try:
                yield node
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    @asynccontextmanager
    async def publisher(self) -> AsyncGenerator[ModelPublisher, None]:
        """Open a publisher with this test's topics and store."""
        store = (self.folder / "store").as_uri()
        async with ModelPublisher(self.connection, topics=self.topics, store=store) as publisher:
            yield publisher

    async def write_control(self, *records: tuple[bytes | None, bytes]) -> int:
        """Append raw keys and values to the control topic; return the offset of the last one."""
        offset = -1
        async with self.connection.producer() as producer:
            for key, value in records:
                sent = await (await producer.send(self.topics.control, key=key, value=value))
                offset = sent.offset
        return offset

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[InferenceClient, None]:
        """Open a Kafka inference client with this test's topics."""
        async with InferenceClient(self.connection, topics=self.topics) as client:
            yield client


def _argument(name: str, value: object) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name}={value}"


@asynccontextmanager
async def deployment(
    site: Site, **settings: object
) -> AsyncGenerator[tuple[NodeProcess, ModelPublisher], None]:
    """Run a node that is ready, and a publisher to it."""
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(site.node(**settings))
        publisher = await stack.enter_async_context(site.publisher())
        await node.ready()
        yield node, publisher


class GrpcClient:
    """Speaks TensorFlow Serving's wire format; one channel."""

    def __init__(self, channel: aio.Channel) -> None:
        self._predict: aio.UnaryUnaryMultiCallable[
            tensorflow_serving_pb2.PredictRequest, tensorflow_serving_pb2.PredictResponse
        ] = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=tensorflow_serving_pb2.PredictRequest.SerializeToString,
            response_deserializer=tensorflow_serving_pb2.PredictResponse.FromString,
        )

    async def predict(
        self,
        model: str,
        inputs: Mapping[str, npt.ArrayLike],
        *,
        version: int | None = None,
        label: str = "",
        signature: str = "",
        timeout: float = 20,
    ) -> tuple[dict[str, list[float]], int]:
        """Return the outputs and the version that gave them."""
        request = tensorflow_serving_pb2.PredictRequest()
        request.model_spec.name = model
        request.model_spec.signature_name = signature
        if version is not None:
            request.model_spec.version.value = version
        if label:
            request.model_spec.version_label = label
        for name, value in inputs.items():
            array = np.asarray(value)
            array = array.astype(np.float32) if array.dtype == np.float64 else array
            request.inputs[name].CopyFrom(
                tensorflow_pb2.TensorProto(
                    dtype=(
                        tensorflow_pb2.DT_FLOAT
                        if array.dtype == np.float32
                        else tensorflow_pb2.DT_INT64
                    ),
                    tensor_shape=tensorflow_pb2.TensorShapeProto(
                        dim=[tensorflow_pb2.TensorShapeProto.Dim(size=n) for n in array.shape]
                    ),
                    tensor_content=array.tobytes(),
                )
            )
        answer = await self._predict(request, timeout=timeout)
        outputs = {name: list(tensor.float_val) for name, tensor in answer.outputs.items()}
        return outputs, answer.model_spec.version.value


@asynccontextmanager
async def grpc_client(node: NodeProcess) -> AsyncGenerator[GrpcClient, None]:
    """Open a gRPC client of a node."""
    async with aio.insecure_channel(f"127.0.0.1:{await node.port()}") as channel:
        yield GrpcClient(channel)
