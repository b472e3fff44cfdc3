"""What the processes of the quickstart tell it: one JSON object per line of their output."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The trainer has finished a round; `accuracy` is its own measure on the held-out digits."""

    kind: Literal["trained"] = "trained"
    round: int
    steps: int
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """The fleet serves what the trainer published, so long after the event was in the log."""

    kind: Literal["serving"] = "serving"
    version: int
    control_offset: int
    event_to_serving_seconds: float
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The trainer could not go on."""

    kind: Literal["failed"] = "failed"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionCount:
    """What one version answered at one door: answers, different digits, and those read right."""

    version: int
    answers: int = 0
    covered: int = 0
    correct: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What one client has sent and got so far."""

    kind: Literal["counted"] = "counted"
    sent: int = 0
    failed: int = 0
    first_failure: str = ""
    versions: tuple[VersionCount, ...] = ()

    @property
    def answers(self) -> int:
        """How many requests were answered with outputs."""
        return sum(count.answers for count in self.versions)

    def of(self, version: int) -> VersionCount:
        """Return the count of one version; zeros when it has not answered yet."""
        found = (count for count in self.versions if count.version == version)
        return next(found, VersionCount(version=version))


Message = Trained | Serving | Failed | Counted
_MESSAGES: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="kind")])


def encode(message: Message) -> bytes:
    """Return the message as one line."""
    return _MESSAGES.dump_json(message) + b"\n"


def decode(line: bytes) -> Message:
    """Return the message of a line; ValueError for anything else."""
    return _MESSAGES.validate_json(line)
