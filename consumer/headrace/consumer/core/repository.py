"""What a door asks of the fleet's configuration: which models are to be served, by name.

Clients of other servers tell *a server* what to load. Here that becomes events on the control log,
so that the whole fleet follows, and the door answers when this node has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from headrace.schemas.records import ServableState, VersionPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelWish:
    """A model that is to be served: the folders below `base_path` with numbers for names.

    `labels` replace those that the model has.
    """

    name: str
    base_path: str
    platform: str = "tensorflow"
    policy: VersionPolicy = field(default_factory=VersionPolicy)
    labels: Mapping[str, int] = field(default_factory=dict[str, int])


class Listed(NamedTuple):
    """One version that the log knows, served or not; `state` is None when it never was here.

    `reason` says in words why it does not serve, where that is known.
    """

    model: str
    version: int
    state: ServableState | None
    reason: str


class Repository(Protocol):
    """The models that the control log knows, and the way to change which of them are served.

    **Concurrency:** event loop only; changes take turns.
    """

    def index(self) -> Sequence[Listed]:
        """Return every version that the log knows, retired ones too, by model and version."""
        ...

    async def reload(self, models: Sequence[ModelWish]) -> None:
        """Serve exactly these models from now on; return when this node has settled.

        Raises:
            RequestError: a wish makes no sense (INVALID_ARGUMENT), a label's version does not
                serve (FAILED_PRECONDITION), a model did not become available (UNKNOWN), the log
                cannot be written (UNAVAILABLE).

        Cancellation: events that are written stay written.
        """
        ...

    async def load(self, model: str) -> None:
        """Bring a model back, or try again to load what failed; return when it serves here.

        Raises:
            RequestError: the log does not know the model (NOT_FOUND), it did not become available
                (UNKNOWN), the log cannot be written (UNAVAILABLE).
        """
        ...

    async def unload(self, model: str) -> None:
        """Retire all versions of a model; return when this node has let go of them.

        Raises:
            RequestError: the log does not know the model (NOT_FOUND), the log cannot be written
                (UNAVAILABLE).
        """
        ...
