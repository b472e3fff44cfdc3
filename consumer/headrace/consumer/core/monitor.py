"""What state every version is in: remembered for questions, passed on for publishing."""

from __future__ import annotations

from collections.abc import Callable

from headrace.schemas.records import ServableState, ServableStatus

Observer = Callable[[ServableStatus], None]


class Monitor:
    """The last status of each version this node has met, and of each the transitions as they come.

    **Concurrency:** event loop only; observers are called at once and must not block.
    """

    def __init__(self, *, max_ended_per_model: int = 20) -> None:
        self._statuses: dict[str, dict[int, ServableStatus]] = {}
        self._observers: list[Observer] = []
        self._max_ended = max_ended_per_model

    def observe(self, observer: Observer) -> None:
        """Call `observer` with every status from now on."""
        self._observers.append(observer)

    def record(self, status: ServableStatus) -> None:
        """Remember a transition and pass it on."""
        versions = self._statuses.setdefault(status.model, {})
        versions.pop(status.version, None)
        versions[status.version] = status
        self._forget_ended(versions)
        for observer in self._observers:
            observer(status)

    def versions(self, model: str) -> list[ServableStatus]:
        """Return the statuses of a model's versions, highest version first."""
        versions = self._statuses.get(model, {})
        return [versions[number] for number in sorted(versions, reverse=True)]

    def all(self) -> list[ServableStatus]:
        """Return the last status of every version."""
        return [status for versions in self._statuses.values() for status in versions.values()]

    def _forget_ended(self, versions: dict[int, ServableStatus]) -> None:
        """Drop the versions that ended longest ago, so that the memory of a model is bounded."""
        ended = [n for n, status in versions.items() if status.state is ServableState.END]
        for number in ended[: max(0, len(ended) - self._max_ended)]:
            del versions[number]
