"""How a command ends: 0 done, 1 one clear line on standard error, 2 usage.

Every command does its work inside `outcome()`, or hands its coroutine to `run`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import Final, NoReturn, TypeVar, cast

import typer

FAILED: Final = 1

T = TypeVar("T")


@contextmanager
def outcome(*also: type[Exception]) -> Generator[None, None, None]:
    """Turn our own errors into one line on standard error and exit code 1.

    Ours are those of the publisher and of the records; `also` names those of other portions.
    Anything else is a defect and passes. Meanwhile aiokafka logs nothing: what it would say of an
    outage, several times a second, the one line says.
    """
    from headrace.publisher.errors import PublisherError
    from headrace.schemas.errors import WireError

    ours: tuple[type[Exception], ...] = (PublisherError, WireError, *also)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        yield
    except ours as error:
        fail(str(error), error)
    except ExceptionGroup as group:
        leaves = list(_leaves(group))
        if not all(isinstance(leaf, ours) for leaf in leaves):
            raise
        fail(str(leaves[0]), leaves[0])


def fail(message: str, cause: BaseException | None = None) -> NoReturn:
    """Print one line to standard error and end the command with exit code 1."""
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    raise typer.Exit(FAILED) from cause


def run(work: Coroutine[object, object, T], *also: type[Exception]) -> T:
    """Run a command's coroutine inside `outcome` and return what it returns."""
    with outcome(*also):
        return asyncio.run(work)
    raise AssertionError("outcome lets no exception vanish")


def _leaves(group: ExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from _leaves(cast("ExceptionGroup[Exception]", error))
        else:
            yield error
