"""Publishes model versions and their configuration as events on the control log.

Owns the order of a publication: look the model over, check the log, try the model, store the bytes,
append the event, wait for the fleet. Each step is a module of its own.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, Self

from headrace.publisher import configuration
from headrace.publisher.artifact import examine
from headrace.publisher.authorship import user_at_host
from headrace.publisher.candidate import Candidate
from headrace.publisher.configuration import ConfigChange
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.control_log import ControlLog
from headrace.publisher.event_security import EventSecurity
from headrace.publisher.events import Configured, Forgotten, Published, Retired
from headrace.publisher.gate import model_of
from headrace.publisher.history import latest
from headrace.publisher.known import Known, check_alone
from headrace.publisher.progress import Appended, OnProgress, Stored, ignore, in_thread
from headrace.publisher.reconfiguring import pin, reconfigure, unpin
from headrace.publisher.references import check_unused
from headrace.publisher.rollback import Step, roll_back
from headrace.publisher.settling import Event, Wait, Wanted
from headrace.publisher.validation import Checks
from headrace.publisher.waiting import FleetWait
from headrace.schemas.errors import WireError
from headrace.schemas.records import (
    Lifecycle,
    ModelConfig,
    ModelVersion,
    Tolerance,
    config_key,
    version_key,
)
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
        security: EventSecurity | None = None,
    ) -> None:
        """Prepare; no I/O. `store` is a folder or URI, `publisher_name` what the log shows."""
        self._connection = connection
        self._topics = topics or Topics()
        self._store = store
        self._name = publisher_name or user_at_host()
        self._security = security or EventSecurity()
        self._log = ControlLog(
            connection, self._topics, create_topics=create_topics, security=self._security
        )
        self._appending = asyncio.Lock()

    @property
    def security(self) -> EventSecurity:
        """How the events are signed, and whose are believed."""
        return self._security

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
        examples: str | os.PathLike[str] | None = None,
        tolerances: Mapping[str, Tolerance] | None = None,
        allow_incompatible: bool = False,
        validation_timeout: float = 300.0,
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
            examples: a file of requests, and what they should be answered; the version is asked
                them in a process of its own before anything is stored (`headrace[serving]`).
            tolerances: how far outputs may be off, by name; "" stands for all others.
            allow_incompatible: publish also what callers of the version that serves cannot call.
            validation_timeout: seconds for loading the version and asking it the examples.
            on_progress: told what happens, on the event loop.

        Raises:
            InvalidArgument: name, version or model cannot be; nothing was written.
            VersionConflict: the number is taken by other bytes.
            Incompatible, ExamplesFailed, ExamplesNotRun: it was checked, and nothing was written.
            StoreError: the artefact store cannot be written.
            BrokerUnreachable, BrokerRefused, TopicMismatch: the event is not in the log.
            NotTrusted: the fleet would refuse the event, or will; see the message.
            OutcomeUnknown: the event may or may not be in the log.
            NotServed, WaitTimeout: the event is in the log, and the fleet did not follow.

        Cancellation: an artefact may be in the store without an event, or the event in the log.
        """
        configuration.check_name(model)
        if version is not None:
            configuration.check_number(version)
        self._security.check_model(model)  # before bytes are hashed and copied for nothing
        checks = await Checks.of(
            examples, tolerances, validation_timeout, allow_incompatible=allow_incompatible
        )
        artifact = await examine(path, platform, on_progress)
        candidate = Candidate(
            model=model,
            version=version,
            artifact=artifact,
            checks=checks,
            publisher=self._name,
            metadata=metadata or {},
        )
        # Asked before the bytes are tried and copied, and again before the event is written.
        candidate.event(Known.of(await self._log.read()))
        await checks.run(model, artifact, on_progress)
        uri = await in_thread(
            partial(artifact.put, self._store),
            lambda done, total: on_progress(Stored(done_bytes=done, total_bytes=total)),
        )
        record, event = await self._announce(lambda known: candidate.event(known, uri), timeout)
        on_progress(Appended(control_offset=event.offset))
        served_by = (
            () if wait is None else await self._wait(timeout, on_progress).published(event, wait)
        )
        return Published(
            model=model,
            version=record.version,
            platform=record.platform,
            digest=record.digest,
            uri=uri,
            control_offset=event.offset,
            served_by=served_by,
            validation=record.validation,
        )

    async def retire(
        self,
        model: str,
        version: int,
        *,
        force: bool = False,
        wait: Literal["fleet"] | None = None,
        timeout: float = 60.0,
        on_progress: OnProgress = ignore,
    ) -> Retired:
        """Take a version out of service on every node; its record stays in the log.

        With `force`, also one that a label, a policy or a split names. With `wait`, return when no
        live node holds the version any more.

        Raises:
            InvalidArgument: name or version cannot be.
            UnknownVersion: the log holds no such version.
            StillUsed: a label, a policy or a split names it.
            WaitTimeout: the event is in the log, and a node still holds the version.
            BrokerUnreachable, BrokerRefused, TopicMismatch, OutcomeUnknown, NotTrusted: as in
                `publish`.
        """
        check = _allow if force else check_unused
        offset = await self._turn(model, version, Lifecycle.RETIRED, timeout, check)
        on_progress(Appended(control_offset=offset))
        event = Event(model=model, version=version, offset=offset)
        released_by = () if wait is None else await self._wait(timeout, on_progress).retired(event)
        return Retired(model=model, version=version, control_offset=offset, released_by=released_by)

    async def republish(self, model: str, version: int, *, timeout: float = 60.0) -> int:
        """Write a version's record once more and return the event's offset.

        Brings a retired version back, and makes a node that failed to load it try afresh.

        Raises:
            InvalidArgument: name or version cannot be.
            UnknownVersion: the log holds no such version.
            BrokerUnreachable, BrokerRefused, TopicMismatch, OutcomeUnknown, NotTrusted: as in
                `publish`.
        """
        return await self._turn(model, version, Lifecycle.PUBLISHED, timeout, _allow)

    async def config(self, model: str) -> ModelConfig | None:
        """Return the model's configuration in the log, None when it has none (all defaults)."""
        configuration.check_name(model)
        return Known.of(await self._log.read()).configs.get(model)

    async def configure(
        self,
        wish: ModelConfig | ConfigChange,
        *,
        wait: Literal["fleet"] | None = None,
        timeout: float = 60.0,
        on_progress: OnProgress = ignore,
    ) -> Configured:
        """Write a model's configuration: a whole one, or a change to the last one in the log.

        Which keys take which arm of a split, and what a rollback goes back to, are worked out
        here, whatever the wish says of them. With `wait`, return when every live node has applied
        the event and serves all versions that it wants.

        Raises:
            InvalidArgument: the result makes no sense, or points at what is not there; nothing
                was written.
            BrokerUnreachable, BrokerRefused, TopicMismatch, OutcomeUnknown, NotTrusted: as in
                `publish`.
            RefusedByNode, WaitTimeout: the event is in the log, and the fleet did not follow.
        """
        configuration.check_name(wish.model)
        decide = partial(reconfigure, wish=wish)
        return await self._take(decide, wait, timeout, on_progress)

    async def rollback(
        self,
        model: str,
        *,
        wait: Literal["fleet"] | None = None,
        timeout: float = 60.0,
        on_progress: OnProgress = ignore,
    ) -> Configured:
        """Serve again what was served before, as one event: versions, labels and split.

        A second rollback goes further back. Versions that are published later are not served while
        the model is pinned to what it went back to; see `unpin`.

        Raises:
            NothingBefore: there is nothing to go back to, or it cannot be served any more.
            InvalidArgument, BrokerUnreachable, WaitTimeout and others: as in `configure`.
        """
        configuration.check_name(model)
        return await self._take(partial(roll_back, model=model), wait, timeout, on_progress)

    async def preview_rollback(self, model: str) -> Step:
        """Return what `rollback` would write now, and write nothing; raises as `rollback`."""
        configuration.check_name(model)
        return roll_back(Known.of(await self._log.read()), model)

    async def pin(
        self,
        model: str,
        versions: Sequence[int] = (),
        *,
        wait: Literal["fleet"] | None = None,
        timeout: float = 60.0,
        on_progress: OnProgress = ignore,
    ) -> Configured:
        """Serve these versions, or without any those that are wanted now, whatever comes.

        Raises:
            LogConflict: no version is given, and none is wanted.
            InvalidArgument, BrokerUnreachable, WaitTimeout and others: as in `configure`.
        """
        configuration.check_name(model)
        decide = partial(pin, model=model, versions=versions)
        return await self._take(decide, wait, timeout, on_progress)

    async def unpin(
        self,
        model: str,
        *,
        wait: Literal["fleet"] | None = None,
        timeout: float = 60.0,
        on_progress: OnProgress = ignore,
    ) -> Configured:
        """Follow the policy from before the pin or the rollback again, else the latest version.

        Raises:
            InvalidArgument: the model is not pinned.
            BrokerUnreachable, WaitTimeout and others: as in `configure`.
        """
        configuration.check_name(model)
        return await self._take(partial(unpin, model=model), wait, timeout, on_progress)

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
            BrokerUnreachable, BrokerRefused, TopicMismatch, OutcomeUnknown, NotTrusted: as in
                `publish`.
        """
        configuration.check_name(model)
        if version is not None:
            configuration.check_number(version)
        async with self._appending:
            known = Known.of(await self._log.read())
            keys = known.keys(model, version, even_published=force)
            offsets = [await self._log.append(key, None, timeout) for key in keys]
        names = tuple(key.decode() for key in keys)
        return Forgotten(keys=names, control_offset=offsets[-1])

    async def resign(self, model: str | None = None, *, timeout: float = 60.0) -> tuple[str, ...]:
        """Write every last record of the log, or of one model, once more; return their keys.

        Each is signed by this publisher's key; what the fleet serves stays the same. Records that
        the trusted keys have not signed are left out.

        Raises:
            BrokerUnreachable, BrokerRefused, TopicMismatch, OutcomeUnknown, NotTrusted: as in
                `publish`; what is written by then stays.
        """
        async with self._appending:
            entries = latest(await self._log.read()).values()
            chosen = sorted(
                (entry for entry in entries if model in (None, model_of(entry.key))),
                key=lambda entry: entry.offset,
            )
            for entry in chosen:
                if not isinstance(entry.record, WireError):
                    await self._log.append(entry.key, entry.record, timeout)
        return tuple(entry.key.decode() for entry in chosen)

    async def _take(
        self,
        decide: Callable[[Known], Step],
        wait: Literal["fleet"] | None,
        timeout: float,
        on_progress: OnProgress,
    ) -> Configured:
        """Append the configuration that follows from the log, and wait for the fleet if asked."""
        async with self._appending:
            step = decide(Known.of(await self._log.read()))
            key = config_key(step.config.model)
            offset = await self._log.append(key, step.config, timeout)
        on_progress(Appended(control_offset=offset))
        wanted = Wanted(model=step.config.model, versions=step.after.versions, offset=offset)
        applied_by = (
            () if wait is None else await self._wait(timeout, on_progress).configured(wanted)
        )
        return Configured(
            config=step.config,
            control_offset=offset,
            before=step.before,
            after=step.after,
            skipped=step.skipped,
            applied_by=applied_by,
        )

    async def _turn(
        self,
        model: str,
        version: int,
        to: Lifecycle,
        timeout: float,
        check: Callable[[str, int, Known], None],
    ) -> int:
        """Append the version's last record with that lifecycle and return the offset."""
        configuration.check_name(model)
        configuration.check_number(version)
        async with self._appending:
            known = Known.of(await self._log.read())
            record = known.version(model, version)
            check(model, version, known)
            if record.lifecycle is not to:
                record = replace(record, lifecycle=to)
            return await self._log.append(version_key(model, version), record, timeout)

    async def _announce(
        self, event_for: Callable[[Known], ModelVersion], timeout: float
    ) -> tuple[ModelVersion, Event]:
        async with self._appending:
            known = Known.of(await self._log.read())
            record = event_for(known)
            key = version_key(record.model, record.version)
            offset = await self._log.append(key, record, timeout)
            if offset != known.next_offset:
                check_alone(await self._log.read(), record, known.next_offset, offset)
        policy = known.policy_words(record.model, record.version)
        event = Event(model=record.model, version=record.version, offset=offset, policy=policy)
        return record, event

    def _wait(self, timeout: float, on_progress: OnProgress) -> FleetWait:
        deadline = time.monotonic() + timeout
        return FleetWait(self._connection, self._topics, deadline, on_progress)


def _allow(model: str, version: int, known: Known) -> None:
    """Find nothing wrong."""
