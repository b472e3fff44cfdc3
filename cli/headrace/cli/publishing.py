"""The publisher of the commands that write to the control log: one way to make it for all."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.publisher.models import ModelPublisher


def model_publisher(
    bootstrap_servers: str,
    *,
    create_topics: bool,
    store: str | None = None,
    signing_key: Path | None = None,
    trusted_keys: Path | None = None,
) -> ModelPublisher:
    """Return a publisher as the options and the environment say; call it inside `outcome()`.

    Raises:
        PublisherError: they say what cannot be.
    """
    import structlog

    from headrace.publisher.connection import KafkaConnection
    from headrace.publisher.event_security import EventSecurity
    from headrace.publisher.models import ModelPublisher
    from headrace.schemas.topics import Topics

    # Standard output is for results. Whatever is standard error when something is logged.
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    return ModelPublisher(
        KafkaConnection.from_environment(bootstrap_servers),
        store=store,
        create_topics=create_topics,
        topics=Topics.from_environment(),
        security=EventSecurity.from_environment(signing_key, trusted_keys),
    )
