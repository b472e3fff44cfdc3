"""Jobs for the process that compares."""

from __future__ import annotations

from headrace.consumer.core.calls import Encoding
from headrace.consumer.shadow.messages import Job, Outcome, Pair
from headrace.schemas.comparison import Answered


def agreeing(count: int, padding: int = 0) -> Job:
    """Return a job of so many pairs that agree."""
    outcome = Outcome(b"x" * padding, 1)
    return Job(
        model="m",
        node="n",
        at_ms=0,
        encoding=Encoding.AVRO,
        tolerances={},
        primary=Answered(model="m", version=1),
        shadow=Answered(model="m", version=2),
        missed=0,
        pairs=[Pair(outcome, outcome)] * count,
    )
