"""The model publisher for programs without an event loop: the same calls, blocking."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Mapping, Sequence
from typing import Literal, Self, TypeVar

from headrace.publisher.configuration import ConfigChange
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.event_security import EventSecurity
from headrace.publisher.events import Configured, Forgotten, Published, Retired
from headrace.publisher.models import ModelPublisher
from headrace.publisher.progress import OnProgress, ignore
from headrace.publisher.settling import Wait
from headrace.schemas.records import ModelConfig, Tolerance
from headrace.schemas.topics import Topics

T = TypeVar("T")


class SyncModelPublisher:
    """`ModelPublisher`, blocking: `with SyncModelPublisher(KafkaConnection()) as publisher`.

    Each call runs an event loop of its own in the calling thread, so progress is reported there.

    **Concurrency:** one thread, and not inside a running event loop: there, use `ModelPublisher`.
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
        self._publisher = ModelPublisher(
            connection,
            topics=topics,
            store=store,
            create_topics=create_topics,
            publisher_name=publisher_name,
            security=security,
        )
        self._runner: asyncio.Runner | None = None

    def __enter__(self) -> Self:
        """Open the loop that the calls share."""
        _refuse_running_loop()
        self._runner = asyncio.Runner()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the loop."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def publish(
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
        """Publish a version; see `ModelPublisher.publish`."""
        return self._run(
            self._publisher.publish(
                model,
                version,
                path,
                platform=platform,
                wait=wait,
                timeout=timeout,
                metadata=metadata,
                examples=examples,
                tolerances=tolerances,
                allow_incompatible=allow_incompatible,
                validation_timeout=validation_timeout,
                on_progress=on_progress,
            )
        )

    def retire(
        self,
        model: str,
        version: int,
        *,
        force: bool = False,
        wait: Literal["fleet"] | None = None,
        timeout: float = 60.0,
        on_progress: OnProgress = ignore,
    ) -> Retired:
        """Take a version out of service; see `ModelPublisher.retire`."""
        return self._run(
            self._publisher.retire(
                model,
                version,
                force=force,
                wait=wait,
                timeout=timeout,
                on_progress=on_progress,
            )
        )

    def config(self, model: str) -> ModelConfig | None:
        """Return the model's configuration; see `ModelPublisher.config`."""
        return self._run(self._publisher.config(model))

    def configure(
        self,
        wish: ModelConfig | ConfigChange,
        *,
        wait: Literal["fleet"] | None = None,
        timeout: float = 60.0,
        on_progress: OnProgress = ignore,
    ) -> Configured:
        """Write a configuration; see `ModelPublisher.configure`."""
        return self._run(
            self._publisher.configure(wish, wait=wait, timeout=timeout, on_progress=on_progress)
        )

    def rollback(
        self,
        model: str,
        *,
        wait: Literal["fleet"] | None = None,
        timeout: float = 60.0,
        on_progress: OnProgress = ignore,
    ) -> Configured:
        """Serve again what was served before; see `ModelPublisher.rollback`."""
        return self._run(
            self._publisher.rollback(model, wait=wait, timeout=timeout, on_progress=on_progress)
        )

    def pin(
        self,
        model: str,
        versions: Sequence[int] = (),
        *,
        wait: Literal["fleet"] | None = None,
        timeout: float = 60.0,
        on_progress: OnProgress = ignore,
    ) -> Configured:
        """Serve these versions whatever comes; see `ModelPublisher.pin`."""
        return self._run(
            self._publisher.pin(
                model, versions, wait=wait, timeout=timeout, on_progress=on_progress
            )
        )

    def unpin(
        self,
        model: str,
        *,
        wait: Literal["fleet"] | None = None,
        timeout: float = 60.0,
        on_progress: OnProgress = ignore,
    ) -> Configured:
        """Follow the policy from before the pin again; see `ModelPublisher.unpin`."""
        return self._run(
            self._publisher.unpin(model, wait=wait, timeout=timeout, on_progress=on_progress)
        )

    def forget(
        self,
        model: str,
        version: int | None = None,
        *,
        force: bool = False,
        timeout: float = 60.0,
    ) -> Forgotten:
        """Remove records from the log; see `ModelPublisher.forget`."""
        return self._run(self._publisher.forget(model, version, force=force, timeout=timeout))

    def _run(self, work: Coroutine[object, object, T]) -> T:
        try:
            _refuse_running_loop()
            if self._runner is None:
                raise RuntimeError("use SyncModelPublisher in a with statement")
        except RuntimeError:
            work.close()
            raise
        return self._runner.run(work)


def _refuse_running_loop() -> None:
    """Raise RuntimeError, in words, where blocking would stop an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        "SyncModelPublisher blocks, and an event loop is running in this thread: use "
        "'async with ModelPublisher(…)' and await its calls"
    )
