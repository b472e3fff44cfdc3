"""What one inference asks, whichever door it goes to."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.schemas.records import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Everything but the inputs.

    `affinity` keeps requests on one arm of a traffic split; with `min_control_offset` the answer is
    routed as of that event of the control log, or a later one.
    """

    route: Route
    signature: str
    timeout_seconds: float
    affinity: str | None = None
    min_control_offset: int | None = None
