"""The gRPC server: which services it has, how it is bounded, how it opens and closes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import grpc
from grpc import aio

from headrace.consumer.core.certificates import Certificates
from headrace.consumer.core.monitor import Monitor
from headrace.consumer.core.readiness import Readiness
from headrace.consumer.core.repository import Repository
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.rpc.admission import Admission, CallLimits
from headrace.consumer.rpc.health import HEALTH_SERVICE, Health
from headrace.consumer.rpc.inference import Inference
from headrace.consumer.rpc.model_service import ModelService
from headrace.consumer.rpc.open_inference import OPEN_INFERENCE_SERVICE, OpenInference
from headrace.consumer.rpc.open_inference_models import OpenInferenceModels
from headrace.consumer.rpc.open_inference_repository import OpenInferenceRepository
from headrace.consumer.rpc.port import bind
from headrace.consumer.rpc.prediction_service import PredictionService
from headrace.consumer.rpc.provenance import Provenance
from headrace.consumer.rpc.reflection import reflection_handlers
from headrace.consumer.rpc.statuses import Method, unary
from headrace.consumer.rpc.tls import credentials
from headrace.consumer.rpc.unix_socket import bind_unix

PREDICTION_SERVICE: Final = "tensorflow.serving.PredictionService"
MODEL_SERVICE: Final = "tensorflow.serving.ModelService"
# How much the server bears of a client; docs/decisions/0012-overload.md has the reasons.
PATIENCE: Final = (
    # Clients behind load balancers ping idle connections; do not hang up on them for it.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),
    # A client that is gone without a word.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 60_000),
    # A connection that never becomes one.
    ("grpc.server_handshake_timeout_ms", 20_000),
)

_SERVICES: Final = (PREDICTION_SERVICE, MODEL_SERVICE, OPEN_INFERENCE_SERVICE)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcOptions:
    """How the gRPC door listens, and its bounds.

    `port` 0 lets the system choose; `shares_port` lets other nodes have it too. `unix_socket` is
    listened on besides. `max_streams` counts open calls per connection; a client that opens more
    waits on its side. `max_age_seconds` ends connections of that age, 0 none. `drain_seconds`
    bounds the wait for calls in flight on closing.
    """

    host: str = "0.0.0.0"
    port: int = 8500
    shares_port: bool = False
    unix_socket: Path | None = None
    certificates: Certificates | None = None
    node: str = ""
    limits: CallLimits = field(default_factory=CallLimits)
    max_message_bytes: int = 64 * 2**20
    max_streams: int = 1024
    max_age_seconds: float = 0.0
    default_timeout_seconds: float = 30.0
    drain_seconds: float = 10.0


class GrpcDoor:
    """Answers gRPC calls from entering the `async with` block until leaving it.

    `port` is the one it listens on. On leaving, health turns to NOT_SERVING, watches and streams
    end, new calls are refused, and calls in flight may finish for `drain_seconds`. Without a
    `repository`, its methods are UNIMPLEMENTED.

    **Concurrency:** event loop only; use it once.
    """

    def __init__(
        self,
        serving_map: ServingMap,
        monitor: Monitor,
        readiness: Readiness,
        options: GrpcOptions,
        repository: Repository | None = None,
    ) -> None:
        self.port = options.port
        self._options = options
        self._readiness = readiness
        inference = Inference(
            serving_map, readiness, Provenance(options.node), options.default_timeout_seconds
        )
        self._predictions = PredictionService(inference)
        self._models = ModelService(monitor, repository)
        self._admission = Admission(options.limits)
        self._open_inference = OpenInference(inference, self._admission)
        self._open_inference_models = OpenInferenceModels(inference, serving_map, readiness)
        self._repository = OpenInferenceRepository(repository) if repository is not None else None

    @property
    def calls(self) -> int:
        """How many calls are inside: begun, and not answered or not yet read."""
        return self._admission.calls

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            NodeError: the port or the socket is taken or cannot be listened on.
        """
        self._health = Health(self._readiness, _SERVICES)
        self._server = aio.server(options=self._channel_arguments())
        # Generic handlers, never `add_registered_method_handlers`: for every call the server waits
        # for the next call of each registered method, and that wait grows with their number.
        self._server.add_generic_rpc_handlers(self._handlers())
        self._listen()
        await self._server.start()
        self._admission.open()
        return self

    def _listen(self) -> None:
        options = self._options
        secured = credentials(options.certificates) if options.certificates else None
        self.port = bind(
            self._server, options.host, options.port, secured, shares=options.shares_port
        )
        if options.unix_socket is not None:
            bind_unix(self._server, options.unix_socket)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Refuse new calls and wait for those in flight, at most `drain_seconds`."""
        self._health.close()
        self._open_inference.close()
        await self._server.stop(self._options.drain_seconds)
        self._admission.close()

    def _channel_arguments(self) -> tuple[tuple[str, int], ...]:
        options = self._options
        aging = (
            ("grpc.max_connection_age_ms", _milliseconds(options.max_age_seconds)),
            ("grpc.max_connection_age_grace_ms", _milliseconds(options.default_timeout_seconds)),
        )
        return (
            # Unasked, a second node on the port would silently take half of the connections.
            ("grpc.so_reuseport", int(options.shares_port)),
            ("grpc.max_receive_message_length", options.max_message_bytes),
            ("grpc.max_send_message_length", options.max_message_bytes),
            ("grpc.max_concurrent_streams", options.max_streams),
            # Calls that are over count until their memory is free, and a client at its bound may
            # have begun the next by then: without room for those, gRPC resets one in fifty.
            ("grpc.http2.max_deallocating_streams", 4 * options.max_streams),
            *PATIENCE,
            *(aging if options.max_age_seconds else ()),
        )

    def _unary(
        self, methods: Mapping[str, Method]
    ) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
        return {name: unary(method, self._admission) for name, method in methods.items()}

    def _handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Return the services, the busiest first: a call asks them in this order."""
        predictions = {
            "Predict": self._predictions.predict,
            "Classify": self._predictions.classify,
            "Regress": self._predictions.regress,
            "MultiInference": self._predictions.multi_inference,
            "GetModelMetadata": self._predictions.get_model_metadata,
        }
        open_inference = {
            **self._open_inference.methods(),
            **self._open_inference_models.methods(),
            **(self._repository.methods() if self._repository is not None else {}),
        }
        return (
            grpc.method_handlers_generic_handler(PREDICTION_SERVICE, self._unary(predictions)),
            grpc.method_handlers_generic_handler(
                OPEN_INFERENCE_SERVICE,
                {**self._unary(open_inference), **self._open_inference.streams()},
            ),
            grpc.method_handlers_generic_handler(
                MODEL_SERVICE, self._unary(self._models.methods())
            ),
            self._health.handler(),
            *reflection_handlers((*_SERVICES, HEALTH_SERVICE)),
        )


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
