"""A repository without a log: it lists what a test puts in, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace.consumer.core.errors import RequestError
from headrace.consumer.core.repository import Listed, ModelWish


@dataclass
class FakeRepository:
    """Does nothing at once; `refusal` is what a change ends in, and changes wait for `may_end`.

    **Concurrency:** event loop only.
    """

    listed: Sequence[Listed] = ()
    wishes: list[Sequence[ModelWish]] = field(default_factory=list[Sequence[ModelWish]])
    asked: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    refusal: RequestError | None = None
    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_end.set()

    def index(self) -> Sequence[Listed]:
        """Return what the test has put in."""
        return self.listed

    async def reload(self, models: Sequence[ModelWish]) -> None:
        """Remember the wishes."""
        self.wishes.append(models)
        await self._end()

    async def load(self, model: str) -> None:
        """Remember the model."""
        self.asked.append(("load", model))
        await self._end()

    async def unload(self, model: str) -> None:
        """Remember the model."""
        self.asked.append(("unload", model))
        await self._end()

    async def _end(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        await self.may_end.wait()
