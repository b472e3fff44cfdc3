"""The topics that a test says there are, for composing answers without a broker."""

from __future__ import annotations

from collections.abc import Iterable

from headrace.consumer.stream.destinations import Destination, Destinations
from headrace.publisher.connection import KafkaConnection


class KnownDestinations(Destinations):
    """Exactly these topics exist.

    **Concurrency:** event loop only.
    """

    def __init__(self, *topics: Destination) -> None:
        super().__init__(KafkaConnection())
        self._topics = {topic.topic: topic for topic in topics}

    def get(self, topic: str) -> Destination | None:
        """Return a topic, if it is one of them."""
        return self._topics.get(topic)

    async def find(self, topics: Iterable[str]) -> dict[str, Destination | None]:
        """Return those that exist."""
        return {topic: self.get(topic) for topic in topics}
