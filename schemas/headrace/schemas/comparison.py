"""What the shadow topic carries: how the two answers to one mirrored request compare.

Mirrors `ShadowComparison.avsc`, field for field and in the same order; see `records`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Agreement(StrEnum):
    """How the two answers to a mirrored request compare; FAILED: they cannot be compared."""

    AGREES = "AGREES"
    DIFFERS = "DIFFERS"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Where an answer came from, and how long it took inside the node.

    `version` is 0 when no version could be asked; `control_offset` is the event that brought the
    version. `error_code` is a gRPC status name when the answer was an error.
    """

    model: str
    version: int
    control_offset: int = -1
    digest: str = ""
    arm: str = ""
    latency_micros: int = 0
    error_code: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """An output in which two answers differ: in how many elements, and by how much at most.

    `reason` says in words why the numbers cannot be set side by side, when they cannot.
    """

    output: str
    elements: int = 0
    differing: int = 0
    max_absolute: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowComparison:
    """One mirrored request: a record of the shadow topic, whose key is the model's name.

    `model` is what the request named. `missed` counts the requests of this model that the node
    chose to mirror and then did not, for want of room, since its record before.
    """

    model: str
    node: str
    at_ms: int
    primary: Answered
    shadow: Answered
    agreement: Agreement
    differences: Sequence[Difference] = ()
    missed: int = 0
