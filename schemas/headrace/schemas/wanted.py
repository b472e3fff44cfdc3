"""Which versions of a model its configuration asks for: a pure function that everyone shares."""

from __future__ import annotations

from collections.abc import Iterable

from headrace.schemas.arms import route_of_arm
from headrace.schemas.records import ModelConfig, PolicyKind


def wanted(
    config: ModelConfig, published: Iterable[int], failed: Iterable[int] = ()
) -> frozenset[int]:
    """Return the version numbers that policy, labels, split and shadow ask for.

    Args:
        config: the model's configuration.
        published: the versions that are published and not retired.
        failed: versions that a node cannot serve. They stay wanted, and under the LATEST policy
            they do not use up its number: the next lower version fills in, so that a broken
            newest version leaves the last good one serving, also after a restart.
    """
    numbers = sorted(published, reverse=True)
    policy = config.policy
    if policy.kind is PolicyKind.ALL:
        return frozenset(numbers)
    chosen = named(config).intersection(numbers)
    if policy.kind is PolicyKind.SPECIFIC:
        return frozenset(chosen.union(set(policy.versions).intersection(numbers)))
    broken, room, found = set(failed), max(policy.latest, 1), set(chosen)
    for number in numbers:
        if not room:
            break
        found.add(number)
        room -= number not in broken
    return frozenset(found)


def named(config: ModelConfig) -> set[int]:
    """Return the versions of the model that a label, an arm of the split or the shadow names."""
    numbers = set(config.labels.values())
    arms = [arm for arm, weight in config.split.items() if weight > 0]
    for arm in [*arms, config.shadow.target] if config.shadow else arms:
        try:
            route = route_of_arm(arm, config.model, config.labels)
        except ValueError:
            continue  # Whoever takes this arm is told.
        if route.model == config.model and route.version is not None:
            numbers.add(route.version)
    return numbers
