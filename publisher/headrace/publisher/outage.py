"""Says that Kafka is away, once in a while, and that it is back."""

from __future__ import annotations

import time
from typing import Final

import structlog

_LOG: Final = structlog.get_logger(__name__)
_INTERVAL_SECONDS: Final = 10.0


class Outage:
    """What one user of Kafka knows of the broker being away.

    **Concurrency:** event loop only.
    """

    def __init__(self, user: str, *, interval_seconds: float = _INTERVAL_SECONDS) -> None:
        self._user = user
        self._interval_seconds = interval_seconds
        self._since: float | None = None
        self._last_log = float("-inf")

    def went_on(self, reason: object) -> None:
        """Count one more failed attempt; it is logged once per interval."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if now - self._last_log < self._interval_seconds:
            return
        self._last_log = now
        _LOG.warning(
            "kafka.unreachable",
            user=self._user,
            reason=str(reason) or repr(reason),
            outage_seconds=round(now - self._since, 3),
        )

    def ended(self) -> None:
        """Note that Kafka answered."""
        if self._since is None:
            return
        away = time.monotonic() - self._since
        self._since = None
        self._last_log = float("-inf")
        _LOG.info("kafka.reached", user=self._user, outage_seconds=round(away, 3))
