"""The gRPC server: which services it has, how it is bounded, how it opens and closes."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import grpc
from grpc import aio

from headrace.consumer.core.monitor import Monitor
from headrace.consumer.core.readiness import Readiness
from headrace.consumer.core.repository import Repository
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.rpc.health import HEALTH_SERVICE, Health
from headrace.consumer.rpc.model_service import ModelService
from headrace.consumer.rpc.port import bind
from headrace.consumer.rpc.prediction_service import PredictionService
from headrace.consumer.rpc.provenance import Provenance
from headrace.consumer.rpc.reflection import reflection_handlers
from headrace.consumer.rpc.statuses import unary

PREDICTION_SERVICE: Final = "tensorflow.serving.PredictionService"
MODEL_SERVICE: Final = "tensorflow.serving.ModelService"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcOptions:
    """How the gRPC door listens, and its bounds.

    `port` 0 lets the system choose. `max_streams` counts open calls per connection; a client that
    opens more waits on its side. `drain_seconds` bounds the wait for calls in flight on closing.
    """

    host: str = "0.0.0.0"
    port: int = 8500
    node: str = ""
    max_message_bytes: int = 64 * 2**20
    max_streams: int = 1024
    default_timeout_seconds: float = 30.0
    drain_seconds: float = 10.0


class GrpcDoor:
    """Answers gRPC calls from entering the `async with` block until leaving it.

    `port` is the one it listens on. On leaving, health turns to NOT_SERVING and watches end, new
    calls are refused, and calls in flight may finish for `drain_seconds`. Without a `repository`,
    its methods are UNIMPLEMENTED.

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
        self._predictions = PredictionService(
            serving_map, readiness, Provenance(options.node), options.default_timeout_seconds
        )
        self._models = ModelService(monitor, repository)

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            NodeError: the port is taken or cannot be listened on.
        """
        self._health = Health(self._readiness, (PREDICTION_SERVICE, MODEL_SERVICE))
        self._server = aio.server(options=_channel_arguments(self._options))
        # Generic handlers, never `add_registered_method_handlers`: for every call the server waits
        # for the next call of each registered method, and that wait grows with their number.
        self._server.add_generic_rpc_handlers(self._handlers())
        self.port = bind(self._server, self._options.host, self._options.port)
        await self._server.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Refuse new calls and wait for those in flight, at most `drain_seconds`."""
        self._health.close()
        await self._server.stop(self._options.drain_seconds)

    def _handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Return the services, the busiest first: a call asks them in this order."""
        predictions = {
            "Predict": unary(self._predictions.predict),
            "GetModelMetadata": unary(self._predictions.get_model_metadata),
        }
        models = {name: unary(method) for name, method in self._models.methods().items()}
        return (
            grpc.method_handlers_generic_handler(PREDICTION_SERVICE, predictions),
            grpc.method_handlers_generic_handler(MODEL_SERVICE, models),
            self._health.handler(),
            *reflection_handlers((PREDICTION_SERVICE, MODEL_SERVICE, HEALTH_SERVICE)),
        )


def _channel_arguments(options: GrpcOptions) -> tuple[tuple[str, int], ...]:
    return (
        # Else a second node on the port would silently take half of the connections.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_send_message_length", options.max_message_bytes),
        ("grpc.max_concurrent_streams", options.max_streams),
        # Clients behind load balancers ping idle connections; do not hang up on them for it.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 0),
    )
