"""Traffic splits: which arm a request takes, and what the arms stand for.

Sticky and the same on every node and door: the arm depends on the affinity bytes, the model's name
and what the log says, and on nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from hashlib import blake2b

from headrace.schemas.arms import route_of_arm
from headrace.schemas.cohorts import BUCKETS, table
from headrace.schemas.records import ModelConfig, Route


class Split:
    """A model's split, ready for routing.

    Keys are hashed together with the model's name, so that two experiments do not share cohorts.

    **Concurrency:** immutable.
    Source: BLAKE2b with personalisation, RFC 7693 and its reference implementation.
    """

    __slots__ = ("_person", "_routes", "_table", "arms")

    def __init__(self, config: ModelConfig) -> None:
        self._person = blake2b(config.model.encode(), digest_size=16).digest()
        self._table = table(config.split, config.cohorts)
        self._routes = _routes(config)
        weights = config.split
        self.arms = sorted(set(self._table), key=lambda arm: (-weights[arm], arm))
        """Every arm that has a share, the largest first."""

    def choose(self, affinity: bytes | None) -> str:
        """Return the arm for these affinity bytes; without any, an arm by chance."""
        if affinity is None:
            return self._table[int(random.random() * BUCKETS)]
        digest = blake2b(affinity, digest_size=8, person=self._person).digest()
        return self._table[int.from_bytes(digest) * BUCKETS >> 64]

    def route(self, arm: str) -> Route | None:
        """Return what an arm stands for, None when its text makes no sense."""
        return self._routes[arm]


def split_of(config: ModelConfig) -> Split | None:
    """Return the split of a configuration, None when no arm has a weight above 0."""
    return Split(config) if any(weight > 0 for weight in config.split.values()) else None


def _routes(config: ModelConfig) -> Mapping[str, Route | None]:
    routes: dict[str, Route | None] = {}
    for arm in config.split:
        try:
            routes[arm] = route_of_arm(arm, config.model, config.labels)
        except ValueError:
            routes[arm] = None  # A record that no publisher of ours wrote; the arm answers nothing.
    return routes
