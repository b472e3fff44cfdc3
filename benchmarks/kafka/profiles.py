"""Where a node and its worker spend their time under a backlog, seen from outside by py-spy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from benchmarks import profile
from benchmarks.kafka import rounds
from benchmarks.kafka.deployments import Deployment
from benchmarks.kafka.payloads import Payloads
from benchmarks.kafka.stage import Stage
from benchmarks.measurement import Json

# The innermost frame that matches decides, so that what a library does is the library's.
_OWNERS: Final = (
    (re.compile(r"\(tensorflow/|_pywrap_tensorflow|libtensorflow"), "TensorFlow"),
    (
        re.compile(r"aiokafka/consumer|aiokafka/record/.*(read|memory|records\.py)"),
        "aiokafka, taking",
    ),
    (re.compile(r"aiokafka/(producer|record)"), "aiokafka, answering"),
    (re.compile(r"\(aiokafka/"), "aiokafka, the rest"),
    (re.compile(r"fastavro"), "fastavro"),
    (re.compile(r"consumer/stream/"), "Headrace, the door"),
    (re.compile(r"consumer/workers/"), "Headrace, frames between node and worker"),
    (re.compile(r"consumer/(formats|platforms)/|\(schemas/"), "Headrace, decoding and encoding"),
    (re.compile(r"\((headrace|consumer|publisher)/"), "Headrace, the rest"),
    (re.compile(r"\(numpy/|multiarray"), "numpy"),
    (re.compile(r"\(asyncio/|\(_asyncio|selectors\.py"), "asyncio"),
)


async def taken(stage: Stage, nodes: Mapping[str, Deployment], payloads: Payloads) -> Json:
    """Profile each node and its worker in rounds of their own, if py-spy is there."""
    py_spy = profile.find()
    if py_spy is None:
        stage.bench.tell("no py-spy on the PATH or in PY_SPY: nothing is profiled")
        return {}
    found: Json = {}
    for name, deployment in nodes.items():
        subject = deployment.subject
        count = await rounds.size(stage, subject, payloads, profile.SECONDS + 2)
        for part in ("node", "workers"):
            stage.bench.tell(f"profiling {name}: {part}")
            (pid, *_) = stage.pids(subject)[part]
            lines = await profile.samples(
                py_spy,
                pid,
                stage.bench.folder / f"profile-{name}-{part}",
                lambda: rounds.of_backlog(stage, subject, payloads, count),  # noqa: B023 - awaited here
            )
            found.setdefault(name, {})[part] = profile.by_owner(lines, _OWNERS)
    return {"profiles_percent": found}
