"""What training code publishes with: one blocking call, which also works inside an event loop.

Training code is synchronous, and where people write it, in notebooks, an event loop runs all the
same. So a publication has a thread of its own, with a loop of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypedDict, Unpack

from headrace.publisher.connection import KafkaConnection
from headrace.publisher.event_security import EventSecurity
from headrace.publisher.events import Published
from headrace.publisher.models import ModelPublisher
from headrace.publisher.settling import Wait
from headrace.schemas.records import Tolerance
from headrace.schemas.topics import Topics


class PublishOptions(TypedDict, total=False):
    """What can be said of each publication besides model, number and path.

    The names and defaults are those of `ModelPublisher.publish`, which gets them as they are.
    """

    wait: Wait | None
    timeout: float
    metadata: Mapping[str, str] | None
    examples: str | os.PathLike[str] | None
    tolerances: Mapping[str, Tolerance] | None
    allow_incompatible: bool
    validation_timeout: float


def publisher_from_environment() -> ModelPublisher:
    """Return a publisher as HEADRACE_… variables say: cluster, topics, store and keys.

    Raises:
        InvalidArgument: the variables contradict each other, or lack something.
        InvalidKey: a key file cannot be used.
    """
    return ModelPublisher(
        KafkaConnection.from_environment(),
        topics=Topics.from_environment(),
        store=os.environ.get("HEADRACE_STORE"),
        security=EventSecurity.from_environment(),
    )


def publish_blocking(
    publisher: ModelPublisher,
    model: str,
    version: int | None,
    path: str | os.PathLike[str],
    **options: Unpack[PublishOptions],
) -> Published:
    """Publish in a thread of its own, and return when that is done; see `ModelPublisher.publish`.

    Concurrency: the publisher must not be in use meanwhile. An interrupt of the calling thread
    is raised when the publication is over.
    """

    def publish() -> Published:
        return asyncio.run(publisher.publish(model, version, path, **options))

    with ThreadPoolExecutor(1, thread_name_prefix="headrace-publish") as thread:
        return thread.submit(publish).result()
