"""Tells a cancellation that somebody asked for from one that aiokafka let escape."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from headrace.publisher.clients import KafkaError


@contextmanager
def strays_as_errors() -> Generator[None, None, None]:
    """Turn a CancelledError that nobody asked of this task into a KafkaError.

    A consumer's stop() awaits its own cancelled fetches, and their CancelledError comes out of it
    when the broker is away. Taken for ours, it would end a task that is meant to try again, and
    end it in silence: a TaskGroup does not notice a cancelled child.

    Cancellation: one that was asked for passes.

    Source: aiokafka 0.14, `Fetcher.close`.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        cause = error.__context__
        raise KafkaError(str(cause or "a client was cancelled from within")) from error
