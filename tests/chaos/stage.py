"""Everything that one run is made of: a broker, nodes, a publisher, a load, a live reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

from headrace.consumer.stream.clients import GroupConsumer
from headrace.publisher import KafkaConnection, ModelPublisher, PublisherError
from headrace.publisher.clients import TopicPartition
from headrace.publisher.topics import ensure_topics
from headrace.schemas.topics import specs
from tests.chaos import evidence as ev
from tests.chaos.broker import MortalBroker
from tests.chaos.checker import Delivery
from tests.chaos.evidence import Evidence
from tests.chaos.fleet import Fleet
from tests.chaos.load import BRITTLE_MODEL, MODEL, Load
from tests.chaos.reading import Watch, read_topic
from tests.chaos.timeline import Timeline
from tests.chaos.versions import version_folder
from tests.e2e.rig import Site
from tests.models import model

PARTITIONS: Final = 8
SESSION_SECONDS: Final = 4.0
DEFAULT_DELIVERY: Final[Delivery] = "exactly_once"
_PUBLISH_SECONDS: Final = 20.0
_INSIST_SECONDS: Final = 90.0


@dataclass
class Stage:
    """The parts of a run that is under way.

    **Concurrency:** event loop only.
    """

    site: Site
    broker: MortalBroker
    fleet: Fleet
    publisher: ModelPublisher
    load: Load
    watch: Watch
    log: Timeline
    version: int = 1
    """The newest version that is published."""

    async def swap(self, wait: Literal["fleet"] | None = None) -> int:
        """Publish the next version and retire the one before; return the new one."""
        self.version += 1
        fresh = self.version
        folder = version_folder(fresh)
        publish, retire = self.publisher.publish, self.publisher.retire
        await self._insist(
            lambda: publish(MODEL, fresh, folder, wait=wait, timeout=_PUBLISH_SECONDS)
        )
        await self._insist(lambda: retire(MODEL, fresh - 1, timeout=_PUBLISH_SECONDS))
        return fresh

    async def _insist(self, action: Callable[[], Awaitable[object]]) -> None:
        """Do it, again while Kafka is away; it must be harmless to do twice."""
        async with asyncio.timeout(_INSIST_SECONDS):
            while True:
                try:
                    await action()
                except PublisherError as error:
                    self.log.note(f"publishes again after {error!r}")
                    await asyncio.sleep(0.2)
                else:
                    return

    async def wait_settled(self, *, timeout: float = 90) -> None:
        """Return when the group has committed the end of every request partition.

        Committed means answered, or nothing that this suite finds would be worth anything.
        """
        topic, group = self.site.topics.requests, self.site.name
        places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        behind: dict[int, tuple[int, int]] = {}
        try:
            async with (
                asyncio.timeout(timeout),
                self.site.connection.consumer(group_id=group) as opened,
            ):
                consumer = cast("GroupConsumer", opened)
                consumer.assign(places)
                ends = await consumer.end_offsets(places)
                while True:
                    committed = {place: await consumer.committed(place) or 0 for place in places}
                    behind = {
                        place.partition: (committed[place], ends[place])
                        for place in places
                        if committed[place] < ends[place]
                    }
                    if not behind:
                        return
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(
                f"not everything was answered within {timeout} s: committed and end by partition "
                f"are {behind}; see {self.log.folder}"
            ) from None

    async def gather(self) -> Evidence:
        """Read everything that the run left in Kafka, with fresh read_committed consumers."""
        topics, connection = self.site.topics, self.site.connection
        answers = ev.answers(await read_topic(connection, topics.responses, PARTITIONS))
        # A live reader that never gets that far has missed something, which the check tells.
        with suppress(TimeoutError):
            await self.watch.wait_seen(len(answers), timeout=20)
        return Evidence(
            requests=ev.requests(await read_topic(connection, topics.requests, PARTITIONS)),
            answers=answers,
            letters=ev.letters(await read_topic(connection, topics.dead_letters, 1)),
            events=ev.version_events(await read_topic(connection, topics.control, 1), MODEL),
            confirmed=frozenset(self.load.confirmed),
            seen=frozenset(self.watch.seen),
        )


@asynccontextmanager
async def open_stage(
    folder: Path, *, nodes: int, delivery: Delivery, is_loud: bool = False
) -> AsyncGenerator[Stage, None]:
    """Set everything up: a broker, version 1 published, nodes ready, the live reader reading."""
    log = Timeline(folder, is_loud=is_loud)
    async with MortalBroker.opened(folder / "broker") as broker:
        site = Site(KafkaConnection(broker.bootstrap_servers), "chaos", folder)
        topics = site.topics
        log.note("the broker is up")
        await ensure_topics(site.connection, specs(topics, request_partitions=PARTITIONS))
        async with (
            site.publisher() as publisher,
            Fleet.opened(site, _settings(delivery), log) as fleet,
        ):
            await publisher.publish(MODEL, 1, version_folder(1))
            await publisher.publish(BRITTLE_MODEL, 1, model("brittle"))
            log.note("version 1 is published")
            async with asyncio.TaskGroup() as tasks:
                for number in range(1, nodes + 1):
                    tasks.create_task(fleet.start(f"node-{number}"))
            watch = Watch(site.connection, topics.responses, PARTITIONS)
            load = Load(site.connection, topics.requests)
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(watch.follow(), name="live reader")
                log.note(f"{nodes} nodes are ready, delivery is {delivery}")
                yield Stage(site, broker, fleet, publisher, load, watch, log)
                following.cancel()


def _settings(delivery: Delivery) -> dict[str, object]:
    """Return the nodes' settings: impatient, and with few threads on a small machine."""
    return {
        "delivery": delivery,
        "session_timeout_seconds": SESSION_SECONDS,
        "drain_seconds": 5,
        "threads": 1,
    }
