"""Clients of the three doors that ask the same things and tell alike where answers came from."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

import aiohttp
import numpy as np
from grpc import aio

from headrace.protos import tensorflow_pb2
from headrace.publisher import InferenceClient
from tests.e2e.allowed import Answered, Asked
from tests.integration.consumer.rpc.official import PredictRequest, prediction_stub

MIN_OFFSET: Final = "min-control-offset"
TIMEOUT_SECONDS: Final = 60.0
_PROVENANCE: Final = "headrace-provenance"

Facts = Mapping[str, str]
Ask = Callable[[Asked, float], Awaitable[tuple[float, Facts]]]
"""Asks about one number; returns the output and the answer's provenance."""
Author = Callable[[float], tuple[str, int]]
"""Tells by y - x / 2 which version of which model computed it."""


@dataclass
class Asker:
    """A client that asks one thing after the other, without pause, until it is told to stop.

    `newest_offset` tells the offset that a request may ask to be answered as of, at least.
    """

    ask: Ask
    questions: Sequence[Asked]
    author: Author
    newest_offset: Callable[[], int]
    answers: list[Answered] = field(default_factory=list[Answered])
    _heard: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self, done: asyncio.Event) -> None:
        """Ask; a request that fails raises."""
        for number, question in enumerate(itertools.cycle(self.questions)):
            if done.is_set():
                return
            asked = question
            if question.min_offset is not None:
                asked = question._replace(min_offset=self.newest_offset())
            x, sent_at = float(number % 1000), time.time()
            y, facts = await self.ask(asked, x)
            self.answers.append(_answered(asked, sent_at, self.author(y - x / 2), facts))
            async with self._heard:
                self._heard.notify_all()

    async def wait_for(self, is_it: Callable[[Answered], bool]) -> None:
        """Return when such an answer comes from now on."""
        looked_at = len(self.answers)
        async with asyncio.timeout(TIMEOUT_SECONDS), self._heard:
            while not any(map(is_it, self.answers[looked_at:])):
                looked_at = len(self.answers)
                await self._heard.wait()


def _answered(asked: Asked, sent_at: float, computed_by: tuple[str, int], facts: Facts) -> Answered:
    return Answered(
        asked=asked,
        sent_at=sent_at,
        received_at=time.time(),
        node=facts["node"],
        model=facts["model"],
        version=int(facts["version"]),
        digest=facts["artifact-digest"],
        control_offset=int(facts["control-offset"]),
        plan_offset=int(facts["plan-offset"]),
        routed_by=facts["routed-by"],
        arm=facts.get("arm", ""),
        computed_by=computed_by,
    )


def over_grpc(channels: Sequence[aio.Channel]) -> Ask:
    """Return TensorFlow Serving's own stub, which asks the nodes in turn."""
    stubs = itertools.cycle([prediction_stub(channel) for channel in channels])

    async def ask(asked: Asked, x: float) -> tuple[float, Facts]:
        request = PredictRequest()
        request.model_spec.name = asked.model
        if asked.version is not None:
            request.model_spec.version.value = asked.version
        if asked.label is not None:
            request.model_spec.version_label = asked.label
        tensor = request.inputs["x"]
        tensor.dtype = tensorflow_pb2.DT_FLOAT
        tensor.float_val.append(x)
        tensor.tensor_shape.dim.add(size=1)
        call = next(stubs).Predict(
            request, metadata=tuple(_headers(asked).items()), timeout=TIMEOUT_SECONDS
        )
        (y,) = (await call).outputs["y"].float_val
        trailing = dict(await call.trailing_metadata() or ())
        pairs = (fact.partition("=") for fact in str(trailing[_PROVENANCE]).split(" "))
        return y, {name: unquote(value) for name, _, value in pairs}

    return ask


def over_rest(session: aiohttp.ClientSession, endpoints: Sequence[str]) -> Ask:
    """Return a client that speaks plain HTTP, to the nodes in turn."""
    nodes = itertools.cycle(endpoints)

    async def ask(asked: Asked, x: float) -> tuple[float, Facts]:
        url = f"http://{next(nodes)}/v1/models/{asked.model}{_within(asked)}:predict"
        async with session.post(url, json={"instances": [x]}, headers=_headers(asked)) as reply:
            answer: Any = await reply.json()
            assert reply.status == 200, answer
        (y,) = answer["predictions"]
        prefix = "headrace-"
        facts = {
            name.lower().removeprefix(prefix): unquote(value)
            for name, value in reply.headers.items()
            if name.lower().startswith(prefix)
        }
        return y, facts

    return ask


def over_kafka(client: InferenceClient) -> Ask:
    """Return a client of the request topic, whose keys are the records' keys."""

    async def ask(asked: Asked, x: float) -> tuple[float, Facts]:
        answer = await client.infer(
            asked.model,
            {"x": np.array([x], np.float32)},
            version=asked.version,
            label=asked.label,
            key=asked.affinity,
            min_control_offset=asked.min_offset,
            timeout=TIMEOUT_SECONDS,
        )
        (y,) = answer.outputs["y"].tolist()
        return y, answer.headers

    return ask


def _within(asked: Asked) -> str:
    if asked.version is not None:
        return f"/versions/{asked.version}"
    return f"/labels/{asked.label}" if asked.label is not None else ""


def _headers(asked: Asked) -> dict[str, str]:
    headers: dict[str, str] = {}
    if asked.affinity is not None:
        headers["affinity"] = asked.affinity.decode()
    if asked.min_offset is not None:
        headers[MIN_OFFSET] = str(asked.min_offset)
    return headers
