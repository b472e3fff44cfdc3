"""Parts of a node, or of a node and a replay, as the settings have them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from headrace.consumer.control.repository import ClosedRepository, LogRepository
from headrace.consumer.core.certificates import Certificates
from headrace.consumer.core.manager import Manager
from headrace.consumer.core.monitor import Monitor
from headrace.consumer.core.repository import Repository
from headrace.consumer.rpc.admission import CallLimits
from headrace.consumer.rpc.door import GrpcOptions
from headrace.consumer.settings import Settings
from headrace.consumer.shadow.lane import LaneOptions
from headrace.consumer.shadow.results import Results
from headrace.consumer.shadow.shadowing import Shadowing, ShadowOptions
from headrace.consumer.stream.claims import Claims
from headrace.consumer.stream.intake import Intake
from headrace.consumer.stream.registry import Registry, open_registry
from headrace.consumer.stream.registry_client import RegistryOptions
from headrace.consumer.web.door import HttpOptions
from headrace.consumer.workers.options import WorkerOptions
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.event_security import EventSecurity
from headrace.publisher.models import ModelPublisher


@asynccontextmanager
async def open_intake(settings: Settings, default_topic: str) -> AsyncGenerator[Intake, None]:
    """Open what turns claims and framed values into requests.

    Args:
        settings: the settings.
        default_topic: where answers go whose requests name no reply topic.
    """
    stores, max_bytes = settings.claim_stores.split(","), settings.claim_max_bytes
    budget = max(max_bytes, settings.max_in_flight_bytes)
    async with AsyncExitStack() as opened:
        registry: Registry | None = None
        if settings.schema_registry_url:
            registry = await opened.enter_async_context(open_registry(_registry(settings)))
        claims = await opened.enter_async_context(Claims(stores, max_bytes))
        yield Intake(registry, claims, default_topic, budget)


def _registry(settings: Settings) -> RegistryOptions:
    return RegistryOptions(
        url=settings.schema_registry_url,
        user_info=settings.schema_registry_user_info.get_secret_value(),
        ca_file=settings.schema_registry_ca_file,
        timeout_seconds=settings.schema_registry_timeout_seconds,
    )


def worker_options(settings: Settings) -> WorkerOptions:
    """Return how workers are run."""
    return WorkerOptions(
        max_queue_calls=settings.max_queue_calls,
        load_timeout_seconds=settings.load_timeout_seconds,
        intra_op_threads=settings.threads,
    )


def load_certificates(settings: Settings) -> Certificates | None:
    """Return the certificates of the doors; None is plaintext.

    Raises:
        NodeError: a file cannot be read, or the files do not fit together.
    """
    files = settings.tls_files
    if files is None:
        return None
    certificates = Certificates(files)
    certificates.load()
    return certificates


def grpc_options(settings: Settings, certificates: Certificates | None) -> GrpcOptions:
    """Return how the gRPC door listens, and its bounds."""
    return GrpcOptions(
        host=settings.host,
        port=settings.grpc_port,
        shares_port=settings.share_port,
        unix_socket=settings.unix_socket,
        certificates=certificates,
        node=settings.node,
        limits=CallLimits(
            max_calls=settings.max_concurrent_calls,
            max_bytes=settings.max_call_bytes,
            arrival_seconds=settings.default_timeout_seconds,
        ),
        max_message_bytes=settings.max_message_bytes,
        max_streams=settings.max_connection_calls,
        max_age_seconds=settings.max_connection_age_seconds,
        default_timeout_seconds=settings.default_timeout_seconds,
        drain_seconds=settings.drain_seconds,
    )


def http_options(settings: Settings, certificates: Certificates | None) -> HttpOptions:
    """Return how the HTTP door listens, and its bounds."""
    return HttpOptions(
        host=settings.host,
        port=settings.http_port,
        shares_port=settings.share_port,
        certificates=certificates,
        node=settings.node,
        max_body_bytes=settings.max_message_bytes,
        max_in_flight_bytes=max(settings.max_in_flight_bytes, settings.max_message_bytes),
        max_requests=settings.http_max_requests,
        default_timeout_seconds=settings.default_timeout_seconds,
        transfer_timeout_seconds=settings.http_transfer_timeout_seconds,
        idle_timeout_seconds=settings.http_idle_timeout_seconds,
        drain_seconds=settings.drain_seconds,
        cors_origin=settings.http_cors_origin,
    )


def shadowing_of(settings: Settings, connection: KafkaConnection) -> Shadowing:
    """Return what mirrors requests."""
    return Shadowing(
        Results(connection, settings.shadow_topic),
        ShadowOptions(
            node=settings.node,
            timeout_seconds=settings.shadow_timeout_seconds,
            lane=LaneOptions(
                max_calls=settings.shadow_max_calls, max_bytes=settings.shadow_max_bytes
            ),
        ),
    )


def repository_of(
    settings: Settings,
    connection: KafkaConnection,
    security: EventSecurity,
    manager: Manager,
    monitor: Monitor,
) -> Repository:
    """Return what the doors change the fleet's configuration with."""
    if not settings.model_control:
        return ClosedRepository(manager, monitor)
    if security.trusted_keys is not None and security.signing_key is None:
        # Never an event that this fleet refuses.
        return ClosedRepository(manager, monitor, "it has --trusted-keys and no --signing-key")
    publisher = ModelPublisher(
        connection,
        topics=settings.topics,
        store=settings.store or None,
        create_topics=settings.create_topics,
        publisher_name=f"{settings.node} for a client",
        security=security,
    )
    return LogRepository(publisher, manager, monitor)
