"""Changes of what is served that clients ask a node for: they become events on the control log.

Owns their order: look, judge, write, wait until this node follows. What to write is `changes`'
business, how to write it the publisher's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Final

import structlog

from headrace.consumer.control.changes import (
    Change,
    Publish,
    Republish,
    Retire,
    check,
    find_changes,
    retire_all,
)
from headrace.consumer.control.listing import faults, list_versions, to_load
from headrace.consumer.control.offers import find_offers
from headrace.consumer.core.errors import (
    ChangeConflict,
    ChangeNotWritten,
    DeadlineExceeded,
    InvalidRequest,
    ModelControlOff,
    ModelsUnavailable,
    ServableNotFound,
)
from headrace.consumer.core.manager import Manager
from headrace.consumer.core.monitor import Monitor
from headrace.consumer.core.plan import PlannedModel
from headrace.consumer.core.repository import Listed, ModelWish
from headrace.publisher.errors import InvalidArgument, LogConflict, NotTrusted, PublisherError
from headrace.publisher.models import ModelPublisher
from headrace.schemas.records import ModelConfig, ServableState

_LOG: Final = structlog.get_logger()


class LogRepository:
    """The `Repository` of a node that takes orders.

    **Concurrency:** event loop only. Changes take turns until they are written and this node has
    read them; they wait for their models side by side.

    Units: `timeout_seconds` bounds each change as a whole.
    """

    def __init__(
        self,
        publisher: ModelPublisher,
        manager: Manager,
        monitor: Monitor,
        *,
        timeout_seconds: float = 600.0,
    ) -> None:
        self._publisher = publisher
        self._manager = manager
        self._monitor = monitor
        self._timeout_seconds = timeout_seconds
        self._changing = asyncio.Lock()

    def index(self) -> Sequence[Listed]:
        """Return every version that the log knows; see `Repository`."""
        return list_versions(self._manager.plan, self._monitor)

    async def reload(self, models: Sequence[ModelWish]) -> None:
        """Serve exactly these models from now on; see `Repository`."""
        deadline = self._deadline()
        async with self._turn(deadline):
            plan = self._manager.plan
            check(models, plan)
            serving = {wish.name: self._serving(wish.name) for wish in models}
            with ExitStack() as held:
                offers = await find_offers(models, plan, held)
                await self._write(find_changes(models, offers, plan, serving))
        await self._settle([wish.name for wish in models], deadline)

    async def load(self, model: str) -> None:
        """Bring a model back, or try again to load what failed; see `Repository`."""
        deadline = self._deadline()
        async with self._turn(deadline):
            numbers = to_load(self._known(model), self._monitor)
            await self._write([Republish(model, number) for number in numbers])
        await self._settle([model], deadline)

    async def unload(self, model: str) -> None:
        """Retire all versions of a model; see `Repository`."""
        deadline = self._deadline()
        async with self._turn(deadline):
            await self._write(retire_all(self._known(model)))
        async with self._until(deadline):
            await self._manager.wait_released(model)

    async def _write(self, changes: Sequence[Change]) -> None:
        """Write the events in their order, and wait until this node follows the last one."""
        for change in changes:  # All of them first: what is written stays written.
            self._publisher.security.check_model(change.model)
            if isinstance(change, Publish):
                self._publisher.security.check_unvalidated(change.model)
        offset = -1
        for change in changes:
            offset = await self._append(change)
            _LOG.info(
                "control_event.written",
                change=type(change).__name__,
                model=change.model,
                version=None if isinstance(change, ModelConfig) else change.version,
                control_offset=offset,
            )
        await self._manager.wait_applied(offset)

    async def _append(self, change: Change) -> int:
        """Write one event and return its offset."""
        match change:
            case Publish(model, version, folder):
                # Clients of these interfaces cannot say that they know what they do.
                published = await self._publisher.publish(
                    model, version, folder, allow_incompatible=True
                )
                return published.control_offset
            case Republish(model, version):
                return await self._publisher.republish(model, version)
            case Retire(model, version):
                # Whoever orders a node says what is served; labels and policy have no say in it.
                retired = await self._publisher.retire(model, version, force=True)
                return retired.control_offset
            case ModelConfig():
                return (await self._publisher.configure(change)).control_offset

    async def _settle(self, models: Sequence[str], deadline: float) -> None:
        """Wait until the wanted versions of these models serve, and say which do not."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._manager.wait_settled(models)
        found = faults(self._manager.plan, self._monitor, models)
        if found:
            reasons = "; ".join(f"{model} ({why})" for model, why in found.items())
            raise ModelsUnavailable(f"{len(found)} model(s) did not become available: {reasons}")

    @asynccontextmanager
    async def _turn(self, deadline: float) -> AsyncGenerator[None, None]:
        """Wait for those before us and for the log, and translate what a publisher refuses."""
        async with self._until(deadline), self._changing:
            await self._manager.wait_applied(-1)
            try:
                yield
            except InvalidArgument as error:
                raise InvalidRequest(str(error)) from error
            except NotTrusted as error:
                raise ModelControlOff(str(error)) from error
            except LogConflict as error:
                raise ChangeConflict(str(error)) from error
            except PublisherError as error:
                raise ChangeNotWritten(str(error)) from error

    @asynccontextmanager
    async def _until(self, deadline: float) -> AsyncGenerator[None, None]:
        try:
            async with asyncio.timeout_at(deadline):
                yield
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"the change was not in force here within {self._timeout_seconds:g} s; what it "
                "wrote to the control log stays there: see 'headrace models'"
            ) from error

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._timeout_seconds

    def _serving(self, model: str) -> AbstractSet[int]:
        """Return the versions of a model that are AVAILABLE here."""
        statuses = self._monitor.versions(model)
        return {one.version for one in statuses if one.state is ServableState.AVAILABLE}

    def _known(self, model: str) -> PlannedModel:
        found = self._manager.plan.models.get(model)
        if found is None or not found.versions:
            raise ServableNotFound(
                f"the control log knows no version of model {model!r}: publish one first"
            )
        return found


class ClosedRepository:
    """The `Repository` of a node that takes no orders: it only tells what there is.

    **Concurrency:** event loop only.

    Args:
        manager: knows the plan.
        monitor: knows what serves.
        why: the reason, in words.
    """

    def __init__(self, manager: Manager, monitor: Monitor, why: str = "--no-model-control") -> None:
        self._why = why
        self._manager = manager
        self._monitor = monitor

    def index(self) -> Sequence[Listed]:
        """Return every version that the log knows; see `Repository`."""
        return list_versions(self._manager.plan, self._monitor)

    async def reload(self, models: Sequence[ModelWish]) -> None:  # noqa: ARG002 - the protocol's
        """Refuse."""
        raise self._off()

    async def load(self, model: str) -> None:  # noqa: ARG002 - the protocol's parameter
        """Refuse."""
        raise self._off()

    async def unload(self, model: str) -> None:  # noqa: ARG002 - the protocol's parameter
        """Refuse."""
        raise self._off()

    def _off(self) -> ModelControlOff:
        return ModelControlOff(
            f"this node takes no orders which models to serve ({self._why}): publish to the "
            "control log instead, with 'headrace publish', 'retire' and 'config'"
        )
