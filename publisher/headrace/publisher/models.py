"""Publishes model versions and their configuration as events on the control log.

Owns the order of a publication: look the model over, check the log, store the bytes, append the
event, wait for the fleet. Each step is a module of its own.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Literal, Self

from headrace.publisher import configuration
from headrace.publisher.artifact import Artifact, examine
from headrace.publisher.authorship import user_at_host
from headrace.publisher.configuration import ConfigChange
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.control_log import ControlLog
from headrace.publisher.events import Configured, Forgotten, Published, Retired
from headrace.publisher.known import Known, check_alone
from headrace.publisher.progress import Appended, OnProgress, Stored, ignore, in_thread
from headrace.publisher.settling import Event, Wait
from headrace.publisher.waiting import FleetWait
from headrace.schemas.records import Lifecycle, ModelConfig, ModelVersion, config_key, version_key
from headrace.schemas.topics import Topics


class ModelPublisher:
    """Publishes, retires, configures and forgets, and can wait for the fleet to follow.

    Use it as `async with ModelPublisher(KafkaConnection()) as publisher`. Arguments are checked
    before anything is connected, and every call closes what it opened.

    **Concurrency:** one event loop; calls may overlap, and their appends take turns. When two
    *processes* publish one number at the same moment, the later of them finds out and says so.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        *,
        topics: Topics | None = None,
        store: str | None = None,
        create_topics: bool = True,
        publisher_name: str | None = None,
    ) -> None:
        """Prepare; no I/O. `store` is a folder or URI, `publisher_name` what the log shows."""
        self._connection = connection
        self._topics = topics or Topics()
        self._store = store
        self._name = publisher_name or user_at_host()
        self._log = ControlLog(connection, self._topics, create_topics=create_topics)
        self._appending = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Return the publisher; the first call connects."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Leave nothing behind: every call has closed what it opened."""

    async def publish(
        self,
        model: str,
        version: int | None,
        path: str | os.PathLike[str],
        *,
        platform: str | None = None,
        wait: Wait | None = None,
        timeout: float = 60.0,
        metadata: Mapping[str, str] | None = None,
        on_progress: OnProgress = ignore,
    ) -> Published:
        """Publish the model at `path` as a version of `model`.

        A version number always means the same bytes. Publishing the same bytes under it again is
        fine (and brings a retired version back); other bytes are refused until the version is
        forgotten.

        Args:
            model: the model's name.
            version: the version's number; None takes the one after the highest in the log.
            path: the folder of the model. It must not change meanwhile.
            platform: what loads it: `tensorflow`, `onnx`, `python`, or one that the nodes have
                besides; None finds out by the files.
            wait: `any` returns when one live node serves the version, `fleet` when all do.
            timeout: seconds for the event, and again for the wait; hashing and storing take
                what they take.
            metadata: free text that travels with the version.
            on_progress: told what happens, on the event loop.

        Raises:
            InvalidArgument: name, version or model cannot be; nothing was written.
            VersionConflict: the number is taken by other bytes.
            StoreError: the artefact store cannot be written.
            BrokerUnreachable, BrokerRefused, TopicMismatch: the event is not in the log.
            OutcomeUnknown: the event may or may not be in the log.
            NotServed, WaitTimeout: the event is in the log, and the fleet did not follow.

        Cancellation: an artefact may be in the store without an event, or the event in the log.
        """
        configuration.check_name(model)
        if version is not None:
            configuration.check_number(version)
        artifact = await examine(path, platform, on_progress)
        # Asked before the bytes are copied, and again before the event is written.
        Known.of(await self._log.read()).number(model, version, artifact.manifest.digest)
        uri = await in_thread(
            partial(artifact.put, self._store),
            lambda done, total: on_progress(Stored(done_bytes=done, total_bytes=total)),
        )
        wish = _wish(model, artifact, uri, self._name, metadata or {})
        record, event = await self._announce(wish, version, timeout)
        on_progress(Appended(control_offset=event.offset))
        served_by = (
            () if wait is None else await self._wait(event, timeout, on_progress).published(wait)
        )
        return Published(
            model=model,
            version=record.version,
            platform=record.platform,
            digest=record.digest,
            uri=uri,
            control_offset=event.offset,
            served_by=served_by,
        )

    async def retire(
        self,
        model: str,
        version: int,
        *,
        wait: Literal["fleet"] | None = None,
        timeout: float = 60.0,
        on_progress: OnProgress = ignore,
    ) -> Retired:
        """Take a version out of service on every node; its record stays in the log.

        With `wait`, return when no live node holds the version any more.

        Raises:
            InvalidArgument: name or version cannot be.
            UnknownVersion: the log holds no such version.
            WaitTimeout: the event is in the log, and a node still holds the version.
            BrokerUnreachable, BrokerRefused, TopicMismatch, OutcomeUnknown: as in `publish`.
        """
        offset = await self._turn(model, version, Lifecycle.RETIRED, timeout)
        on_progress(Appended(control_offset=offset))
        event = Event(model=model, version=version, offset=offset)
        released_by = (
            () if wait is None else await self._wait(event, timeout, on_progress).retired()
        )
        return Retired(model=model, version=version, control_offset=offset, released_by=released_by)

    async def republish(self, model: str, version: int, *, timeout: float = 60.0) -> int:
        """Write a version's record once more and return the event's offset.

        Brings a retired version back, and makes a node that failed to load it try afresh.

        Raises:
            InvalidArgument: name or version cannot be.
            UnknownVersion: the log holds no such version.
            BrokerUnreachable, BrokerRefused, TopicMismatch, OutcomeUnknown: as in `publish`.
        """
        return await self._turn(model, version, Lifecycle.PUBLISHED, timeout)

    async def config(self, model: str) -> ModelConfig | None:
        """Return the model's configuration in the log, None when it has none (all defaults)."""
        configuration.check_name(model)
        return Known.of(await self._log.read()).configs.get(model)

    async def configure(
        self, wish: ModelConfig | ConfigChange, *, timeout: float = 60.0
    ) -> Configured:
        """Write a model's configuration: a whole one, or a change to the last one in the log.

        Raises:
            InvalidArgument: the result makes no sense; nothing was written.
            BrokerUnreachable, BrokerRefused, TopicMismatch, OutcomeUnknown: as in `publish`.
        """
        configuration.check_name(wish.model)
        async with self._appending:
            known = Known.of(await self._log.read())
            config = wish
            if isinstance(config, ConfigChange):
                last = known.configs.get(wish.model)
                config = config.apply(last or ModelConfig(model=wish.model))
            configuration.check(config)
            known.check_shadow(config)
            offset = await self._log.append(config_key(wish.model), config, timeout)
        return Configured(config=config, control_offset=offset)

    async def forget(
        self,
        model: str,
        version: int | None = None,
        *,
        force: bool = False,
        timeout: float = 60.0,
    ) -> Forgotten:
        """Remove a version's record from the log, or with None all records of the model.

        Afterwards the numbers are free for other bytes.

        Raises:
            UnknownVersion: the log holds nothing of the kind.
            StillPublished: a version is published; retire it first, or use `force`.
            BrokerUnreachable, BrokerRefused, TopicMismatch, OutcomeUnknown: as in `publish`.
        """
        configuration.check_name(model)
        if version is not None:
            configuration.check_number(version)
        async with self._appending:
            known = Known.of(await self._log.read())
            keys = known.keys(model, version, even_published=force)
            for key in keys:
                await self._log.append(key, None, timeout)
        return Forgotten(keys=tuple(key.decode() for key in keys))

    async def _turn(self, model: str, version: int, to: Lifecycle, timeout: float) -> int:
        """Append the version's last record with that lifecycle and return the offset."""
        configuration.check_name(model)
        configuration.check_number(version)
        async with self._appending:
            record = Known.of(await self._log.read()).version(model, version)
            if record.lifecycle is not to:
                record = replace(record, lifecycle=to)
            return await self._log.append(version_key(model, version), record, timeout)

    async def _announce(
        self, wish: ModelVersion, version: int | None, timeout: float
    ) -> tuple[ModelVersion, Event]:
        async with self._appending:
            known = Known.of(await self._log.read())
            record = replace(wish, version=known.number(wish.model, version, wish.digest))
            key = version_key(record.model, record.version)
            offset = await self._log.append(key, record, timeout)
            if offset != known.next_offset:
                check_alone(await self._log.read(), record, known.next_offset, offset)
        policy = known.policy_words(record.model, record.version)
        event = Event(model=record.model, version=record.version, offset=offset, policy=policy)
        return record, event

    def _wait(self, event: Event, timeout: float, on_progress: OnProgress) -> FleetWait:
        deadline = time.monotonic() + timeout
        return FleetWait(self._connection, self._topics, event, deadline, on_progress)


def _wish(
    model: str, artifact: Artifact, uri: str, publisher: str, metadata: Mapping[str, str]
) -> ModelVersion:
    """Return the event of an artefact; its number is settled last, under the log's eye."""
    return ModelVersion(
        model=model,
        version=1,
        platform=artifact.platform,
        uri=uri,
        digest=artifact.manifest.digest,
        size_bytes=artifact.manifest.size_bytes,
        signatures=artifact.signatures,
        publisher=publisher,
        created_at_ms=time.time_ns() // 1_000_000,
        metadata=dict(metadata),
    )
