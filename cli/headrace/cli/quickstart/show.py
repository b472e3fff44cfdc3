"""The show: versions are trained, published and served while two clients ask without pause.

Owns the order of things: a version is published when every client has been through all digits
with the one before. What was counted is judged elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from headrace.cli.quickstart import kafka_client
from headrace.cli.quickstart.child import Child, Program, running
from headrace.cli.quickstart.digits import Digits
from headrace.cli.quickstart.errors import QuickstartFailed
from headrace.cli.quickstart.messages import Counted, Failed, Message, Serving, Trained
from headrace.cli.quickstart.scoreboard import Door, Scoreboard
from headrace.cli.quickstart.servers import Servers
from headrace.cli.quickstart.tally import Tally
from headrace.cli.quickstart.workspace import Workspace
from headrace.publisher import InferenceClient

MODEL: Final = "digits"
_ROUND_SECONDS: Final = 120.0
_COVER_SECONDS: Final = 60.0
_DRAIN_SECONDS: Final = 30.0
_ANSWER_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How many versions to publish, and the least time that each is asked."""

    versions: int
    seconds_per_version: float


class Show:
    """One run of training, publishing and asking, on servers that run already.

    **Concurrency:** one event loop, in the main thread; run it once.
    """

    def __init__(
        self,
        servers: Servers,
        workspace: Workspace,
        held_out: Digits,
        board: Scoreboard,
        pace: Pace,
    ) -> None:
        self._servers = servers
        self._workspace = workspace
        self._held_out = held_out
        self._board = board
        self._pace = pace
        self._is_over = asyncio.Event()

    async def run(self) -> None:
        """Publish version after version and ask each by both doors; return when all is answered.

        Raises:
            QuickstartFailed: a process ended too early, or a version was not asked in time.
        """
        trainer_program, asker_program = (
            self._trainer(),
            Program(
                name="gRPC client",
                module="headrace.cli.quickstart.grpc_client",
                arguments=("--model", MODEL),
                talks=True,
            ),
        )
        async with (
            running(trainer_program, self._workspace) as trainer,
            running(asker_program, self._workspace) as asker,
            aclosing(trainer.messages()) as told,
        ):
            node = await self._servers.ready()
            endpoint = node.heartbeat.grpc_endpoint if node.heartbeat else ""
            self._board.say(f"node is ready: gRPC on {endpoint}")
            async with (
                InferenceClient(self._servers.connection, timeout=_ANSWER_SECONDS) as client,
                asyncio.TaskGroup() as tasks,
            ):
                tasks.create_task(self._listen(asker))
                for number in range(self._pace.versions):
                    trainer.say("publish")
                    served = await self._next_served(trainer, told)
                    if number == 0:
                        asker.say(endpoint)
                        tasks.create_task(self._ask_by_kafka(client))
                    await self._wait_asked(served.version)
                self._board.finish()
                self._is_over.set()
                _check(asker, await asker.finish(_DRAIN_SECONDS))
            _check(trainer, await trainer.finish(_DRAIN_SECONDS))

    async def _next_served(self, trainer: Child, told: AsyncGenerator[Message, None]) -> Serving:
        """Return when the fleet serves what the trainer publishes next."""
        try:
            async with asyncio.timeout(_ROUND_SECONDS):
                async for message in told:
                    match message:
                        case Trained():
                            self._board.say(
                                f"round {message.round} trained: {message.steps} steps in all"
                            )
                        case Serving():
                            self._board.serve(message)
                            self._board.say(
                                f"version {message.version} is served, "
                                f"{message.event_to_serving_seconds:.2f} s after its event"
                            )
                            return message
                        case Failed():
                            raise QuickstartFailed(f"the trainer failed: {message.reason}")
                        case Counted():
                            raise RuntimeError("a trainer does not count answers")
        except TimeoutError:
            raise QuickstartFailed(
                f"no new version within {_ROUND_SECONDS:g} s; log: {trainer.log}"
            ) from None
        raise await trainer.fail()

    async def _wait_asked(self, version: int) -> None:
        """Return when the version has had its time and has answered every digit by every door."""
        least = self._pace.seconds_per_version
        try:
            async with asyncio.timeout(least + _COVER_SECONDS):
                await asyncio.sleep(least)
                await self._board.wait_covered(version)
        except TimeoutError:
            doors = " and ".join(self._board.uncovered(version))
            failure = next(
                (c.first_failure for c in self._board.counts.values() if c.first_failure), "none"
            )
            raise QuickstartFailed(
                f"version {version} has not answered every digit over {doors} within "
                f"{least + _COVER_SECONDS:g} s (first failure: {failure})"
            ) from None
        score = next(score for score in self._board.scores if score.version == version)
        self._board.say(
            f"version {version} reads {score.accuracy:.1%} of {self._board.digits} digits right "
            f"({score.grpc.answers} answers by gRPC, {score.kafka.answers} by Kafka)"
        )

    async def _listen(self, asker: Child) -> None:
        """Put what the gRPC client counts on the board, until it has finished."""
        async with aclosing(asker.messages()) as told:
            async for message in told:
                if isinstance(message, Counted):
                    self._board.count(Door.GRPC, message)
        if not self._is_over.is_set():
            raise await asker.fail()

    async def _ask_by_kafka(self, client: InferenceClient) -> None:
        tally = Tally(self._held_out.labels)
        await kafka_client.ask(
            client,
            kafka_client.requests_for(MODEL, self._held_out),
            tally,
            self._is_over,
            lambda: self._board.count(Door.KAFKA, tally.counted()),
        )

    def _trainer(self) -> Program:
        options = {
            "bootstrap-servers": self._servers.connection.bootstrap_servers,
            "model": MODEL,
            "versions": str(self._pace.versions),
            "store": str(self._workspace.store),
            "pace": "stdin",
        }
        return Program(
            name="trainer",
            module="headrace.cli.quickstart.trainer",
            arguments=[part for name, value in options.items() for part in (f"--{name}", value)],
            talks=True,
        )


def _check(child: Child, code: int) -> None:
    if code:
        raise child.failure(code)
