"""Liveness and readiness for orchestrators: `/healthz` and `/readyz`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from aiohttp import web

from headrace.consumer.core.ids import ServableId
from headrace.consumer.core.monitor import Monitor
from headrace.consumer.core.readiness import Readiness
from headrace.schemas.records import ServableState

_UNSETTLED: Final = (ServableState.START, ServableState.LOADING)


class Health:
    """Says whether the node lives, and whether it wants requests.

    **Concurrency:** event loop only.
    """

    def __init__(self, monitor: Monitor, readiness: Readiness) -> None:
        self._monitor = monitor
        self._readiness = readiness

    def routes(self) -> list[web.RouteDef]:
        """Return the paths of this part."""
        return [web.get("/healthz", self._alive), web.get("/readyz", self._ready)]

    async def _alive(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        """Answer at all: that takes an event loop that turns."""
        return web.json_response({"alive": True})

    async def _ready(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        """Answer 200, or 503 with what is missing."""
        if self._readiness.is_ready:
            return web.json_response({"ready": True})
        missing = {
            "ready": False,
            "phase": self._readiness.phase.name.lower(),
            "unsettled": self._unsettled(),
        }
        return web.json_response(missing, status=HTTPStatus.SERVICE_UNAVAILABLE)

    def _unsettled(self) -> dict[str, str]:
        """Return the versions that are on their way, with the state or what went wrong so far."""
        return {
            str(ServableId(status.model, status.version)): status.error or status.state.value
            for status in self._monitor.all()
            if status.state in _UNSETTLED
        }
