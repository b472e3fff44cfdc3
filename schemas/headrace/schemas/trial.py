"""What a publisher and the process that tries a candidate say to each other: lines of JSON.

The publisher writes one `Trial`; the process answers with any number of `Report`s, of which the
last one has a `verdict`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TypeAlias

from headrace.schemas.records import DEFAULT_SIGNATURE, Tolerance

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


class Verdict(StrEnum):
    """How a trial ended."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    """Some examples were not answered as they should."""
    REFUSED = "REFUSED"
    """The candidate could not be loaded, or the trial makes no sense for it."""
    UNAVAILABLE = "UNAVAILABLE"
    """This machine cannot run it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One golden request, and where it is written.

    `outputs` None asks for nothing but finite numbers. Tensors are JSON values, whose dtypes the
    signature says.
    """

    line: int
    inputs: Mapping[str, Json]
    outputs: Mapping[str, Json] | None = None
    signature: str = DEFAULT_SIGNATURE


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A candidate in a folder of this machine, and what it is to be asked.

    `tolerances` are by output; the empty name stands for every output that has none of its own.
    """

    model: str
    platform: str
    path: str
    examples: Sequence[Example]
    tolerances: Mapping[str, Tolerance] = field(default_factory=dict[str, Tolerance])

    def encode(self) -> bytes:
        """Return the line that says this."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Trial:
        """Return what a line of ours says."""
        fields = json.loads(line)
        fields["examples"] = [Example(**each) for each in fields["examples"]]
        fields["tolerances"] = {n: Tolerance(**each) for n, each in fields["tolerances"].items()}
        return cls(**fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a trial gets on: so many examples are done, 0 once the candidate has loaded.

    With a verdict it is the last one: `failed` counts the examples that went wrong, `faults` are
    the first few of them, or the one reason why there was no trial, in words.
    """

    done: int = 0
    verdict: Verdict | None = None
    failed: int = 0
    faults: Sequence[str] = ()

    def encode(self) -> bytes:
        """Return the line that says this."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Report:
        """Return what a line says.

        Raises:
            ValueError: it is no report.
        """
        try:
            fields = json.loads(line)
            verdict, faults = fields.pop("verdict"), tuple(fields.pop("faults"))
            told = None if verdict is None else Verdict(verdict)
            return cls(**fields, verdict=told, faults=faults)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a report of a trial: {line[:200]!r}") from error
