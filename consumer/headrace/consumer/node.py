"""The composition root: opens the parts of a node in order and closes them in reverse.

    web → status → zygotes → loader → manager → shadowing → web's inference → rpc → control log →
    stream

Doors close before the engine; the HTTP port goes last, so that health checks hear of the drain.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from contextlib import aclosing
from dataclasses import replace

import structlog

from headrace.consumer.artifacts.cache import ArtifactCache
from headrace.consumer.control.log import ControlLog
from headrace.consumer.control.status import NodeIdentity, StatusPublisher
from headrace.consumer.core.certificates import Certificates
from headrace.consumer.core.harness import LifeOptions
from headrace.consumer.core.manager import Manager
from headrace.consumer.core.monitor import Monitor
from headrace.consumer.core.plan import Plan, fold
from headrace.consumer.core.readiness import Phase, Readiness
from headrace.consumer.core.serving_map import ServingMap
from headrace.consumer.core.slots import LoadSlots
from headrace.consumer.parts import (
    grpc_options,
    http_options,
    load_certificates,
    open_intake,
    repository_of,
    shadowing_of,
    worker_options,
)
from headrace.consumer.rpc.door import GrpcDoor
from headrace.consumer.settings import Settings
from headrace.consumer.stream.door import KafkaDoor
from headrace.consumer.stream.options import StreamOptions
from headrace.consumer.web.door import HttpDoor
from headrace.consumer.workers.loader import WorkerLoader
from headrace.consumer.workers.zygote_client import Zygotes
from headrace.schemas.records import ServableState, ServableStatus
from headrace.schemas.topics import specs

log = structlog.get_logger()

_TRANSITIONS = {
    ServableState.START: "version.accepted",
    ServableState.LOADING: "version.load_begun",
    ServableState.AVAILABLE: "version.available",
    ServableState.UNLOADING: "version.unload_begun",
    ServableState.END: "version.ended",
}


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain and leave.

    Raises:
        NodeError: the node cannot go on (a port is taken, a certificate or the control topic is
            unusable).
        InvalidArgument: Kafka's address or security settings, or a file of keys cannot be used.
    """
    # Records come and go by the hundred thousand and hold no cycles, but looking for cycles visits
    # all that are in flight: at one look per 100,000 new objects, exactly-once lost a fifth to it.
    gc.set_threshold(1_000_000, 50, 100)
    connection = settings.kafka_connection
    connection.client_arguments()  # a file that cannot be read is told now, and not for ever after
    certificates, security = load_certificates(settings), settings.event_security
    shadowing = shadowing_of(settings, connection)
    readiness, monitor, serving_map = Readiness(), Monitor(), ServingMap(shadowing)
    slots = LoadSlots(settings.initial_load_slots)
    monitor.observe(_log_transition)
    status = StatusPublisher(
        connection,
        settings.status_topic,
        NodeIdentity(node=settings.node, incarnation=time.time_ns()),
        heartbeat_interval_seconds=settings.heartbeat_seconds,
    )
    monitor.observe(status.publish)
    zygotes = Zygotes()
    loader = WorkerLoader(
        ArtifactCache(settings.cache_dir, settings.cache_max_bytes, settings.max_artifact_bytes),
        zygotes,
        worker_options(settings),
    )
    manager = Manager(loader, serving_map, monitor, slots, _life_options(settings))
    repository = repository_of(settings, connection, security, manager, monitor)
    http = http_options(settings, certificates)
    web = HttpDoor(serving_map, monitor, readiness, http, repository)
    grpc = grpc_options(settings, certificates)
    rpc = GrpcDoor(serving_map, monitor, readiness, grpc, repository)
    control = ControlLog(
        connection,
        settings.control_topic,
        creates=specs(settings.topics) if settings.create_topics else (),
        security=security,
    )

    async with (
        web,
        status,
        zygotes,
        loader,
        manager,
        shadowing.running(serving_map),
        web.answering(),
        rpc,
        asyncio.TaskGroup() as tasks,
    ):
        status.serve_at(
            grpc_endpoint=f"{settings.reachable_host}:{rpc.port}",
            http_endpoint=f"{settings.reachable_host}:{web.port}",
        )
        log.info("node.started", node=settings.node, grpc_port=rpc.port, http_port=web.port)
        following = tasks.create_task(
            _follow(control, manager, status, readiness), name="control log"
        )
        settling = tasks.create_task(_settle(manager, readiness, slots, settings), name="settling")
        renewing = tasks.create_task(_renew(certificates), name="certificates")
        async with (
            open_intake(settings, settings.response_topic) as intake,
            KafkaDoor(connection, serving_map, readiness, _stream_options(settings), intake),
        ):
            await stop.wait()
            log.info("node.draining", node=settings.node)
            readiness.enter(Phase.DRAINING)
        for task in (renewing, settling, following):
            task.cancel()
    log.info("node.stopped", node=settings.node)


async def _renew(certificates: Certificates | None) -> None:
    """Follow the files of the doors' certificates, when there are any."""
    if certificates is not None:
        await certificates.watch()


async def _follow(
    control: ControlLog, manager: Manager, status: StatusPublisher, readiness: Readiness
) -> None:
    """Fold the control log and let the manager follow, from the moment we have caught up."""
    plan, errors, offset = Plan(), deque[str](maxlen=10), -1

    def beat(_: bool = True) -> None:
        status.heartbeat(offset, is_ready=readiness.is_ready, control_errors=tuple(errors))

    readiness.observe(beat)
    async with aclosing(control.batches()) as batches:
        async for batch in batches:
            # Records that were skipped count, too: whoever waits for an offset waits for them.
            plan = replace(fold(plan, batch.events), offset=batch.offset)
            errors.extend(batch.unreadable)
            if batch.is_caught_up:
                manager.apply(plan)
                # The heartbeat follows the statuses that the new plan has just brought about.
                offset = batch.offset
                beat()
                if readiness.phase is Phase.REPLAYING:
                    log.info("control_log.caught_up", offset=offset, models=len(plan.models))
                    readiness.enter(Phase.LOADING)


async def _settle(
    manager: Manager, readiness: Readiness, slots: LoadSlots, settings: Settings
) -> None:
    """Declare the node ready once every version wanted at start is AVAILABLE or has failed."""
    await readiness.wait_phase(Phase.LOADING)
    await manager.wait_settled()
    await slots.resize(settings.load_slots)
    readiness.enter(Phase.READY)
    log.info("node.ready", node=settings.node)


def _log_transition(status: ServableStatus) -> None:
    if status.state is ServableState.LOADING and status.error:
        return  # The harness has told it, as version.load_retried.
    event = log.bind(
        model=status.model, version=status.version, control_offset=status.control_offset
    )
    if status.error:
        event.warning(_TRANSITIONS[status.state], error=status.error, attempt=status.attempt)
    else:
        event.info(_TRANSITIONS[status.state])


def _life_options(settings: Settings) -> LifeOptions:
    return LifeOptions(
        load_attempts=settings.load_attempts,
        first_backoff_seconds=settings.first_backoff_seconds,
        max_backoff_seconds=settings.max_backoff_seconds,
        drain_seconds=settings.drain_seconds,
    )


def _stream_options(settings: Settings) -> StreamOptions:
    return StreamOptions(
        topics=settings.topics,
        group=settings.group,
        node=settings.node,
        request_pattern=settings.request_pattern or None,
        delivery=settings.delivery,
        transaction_interval_seconds=settings.transaction_interval_seconds,
        max_transaction_records=settings.max_transaction_records,
        session_timeout_seconds=settings.session_timeout_seconds,
        max_in_flight_bytes=settings.max_in_flight_bytes,
        default_deadline_seconds=settings.default_timeout_seconds,
        # A rebalance waits for it, and aiokafka waits 40 s for a rebalance.
        drain_timeout_seconds=min(settings.drain_seconds, 25.0),
    )
