"""What holds of every split: shares, cohorts that stay, arms that may answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.consumer.core.choice import Reason, Serving
from headrace.consumer.core.errors import RequestError
from headrace.consumer.core.plan import PlannedVersion
from headrace.consumer.core.routing import Split
from headrace.consumer.core.serving_map import ServingMap
from headrace.schemas.cohorts import BUCKETS, allocate, table
from headrace.schemas.records import Cohort, ModelConfig, ModelVersion, Route
from tests.fakes.loading import EchoServable

ARMS = ["1", "2", "3", "4", "5"]
weights = st.dictionaries(st.sampled_from(ARMS), st.integers(0, 10_000), max_size=5)
splits = weights.filter(lambda split: any(split.values()))
KEYS = [f"user-{number}".encode() for number in range(100_000)]
FEW_KEYS = KEYS[:2_000]


def made(split: Mapping[str, int], cohorts: tuple[Cohort, ...] = ()) -> Split:
    """Return a split of model m with these cohorts, or with those of a fresh split."""
    return Split(ModelConfig(model="m", split=split, cohorts=cohorts or allocate(split)))


@settings(max_examples=10, deadline=None)
@given(splits, splits)
@example({"1": 95, "2": 5}, {"1": 5, "2": 95})
@example({"1": 1, "2": 9_999}, {"3": 1})
def test_a_hundred_thousand_keys_fall_as_the_weights_say(
    split: dict[str, int], before: dict[str, int]
) -> None:
    """Within one per cent, also for cohorts that another split has left behind."""
    routed = made(split, allocate(split, allocate(before)))
    counts = Counter(map(routed.choose, KEYS))
    for arm, weight in split.items():
        assert abs(counts[arm] / len(KEYS) - weight / sum(split.values())) <= 0.01


@given(st.lists(weights, min_size=2, max_size=5))
def test_no_bucket_leaves_an_arm_that_does_not_shrink(history: list[dict[str, int]]) -> None:
    """However often the weights change, no more keys move than must."""
    cohorts: tuple[Cohort, ...] = ()
    for split in history:
        before = table({cohort.arm: 1 for cohort in cohorts}, cohorts) if cohorts else []
        cohorts = allocate(split, cohorts)
        after = table(split, cohorts)
        counts, shares = Counter(before), Counter(after)
        moved = Counter(old for old, new in zip(before, after, strict=False) if old != new)
        for arm, buckets in moved.items():
            assert not after or buckets == counts[arm] - shares[arm] > 0
        assert not after or sum(shares.values()) == BUCKETS


@settings(max_examples=30, deadline=None)
@given(splits, splits)
def test_a_key_changes_its_arm_only_if_that_arm_shrank(
    before: dict[str, int], after: dict[str, int]
) -> None:
    """The same for keys as for buckets."""
    old = made(before)
    cohorts = allocate(after, allocate(before))
    new = made(after, cohorts)
    had = Counter(table(before, allocate(before)))
    has = Counter(table(after, cohorts))
    for key in FEW_KEYS:
        arm = old.choose(key)
        assert new.choose(key) == arm or has[arm] < had[arm]


def serving(version: int) -> Serving:
    """Return an AVAILABLE version."""
    record = ModelVersion(model="m", version=version, uri="u", digest="d", size_bytes=1)
    planned = PlannedVersion(record, version)
    return Serving(planned, EchoServable(planned))


def a_map(config: ModelConfig, available: set[int]) -> ServingMap:
    """Return a map that routes by a configuration and serves these versions."""
    made_map = ServingMap()
    routes = made_map.model("m")
    routes.configure(config)
    routes.serving = {number: serving(number) for number in available}
    routes.wanted = frozenset(available)
    made_map.note_change(1)
    return made_map


def answer(routes: ServingMap, key: bytes) -> tuple[int, Reason, str] | None:
    """Return the version, the reason and the arm of a request; None when none serves."""
    try:
        with routes.acquire(Route("m"), key) as found:
            return found.id.version, found.reason, found.arm
    except RequestError:
        return None


@settings(deadline=None)
@given(splits, st.sets(st.integers(1, 5)), splits)
async def test_a_standby_answers_only_for_an_arm_that_does_not_serve(
    split: dict[str, int], available: set[int], before: dict[str, int]
) -> None:
    """And it is the largest arm that serves; an arm without weight never is, nor any other."""
    config = ModelConfig(model="m", split=split, cohorts=allocate(split, allocate(before)))
    routes, twin, chooser = a_map(config, available), a_map(config, available), Split(config)
    alive = [arm for arm, weight in split.items() if weight and int(arm) in available]
    largest = min(alive, key=lambda arm: (-split[arm], arm), default=None)
    shares = Counter(table(split, config.cohorts))
    for key in FEW_KEYS[:200]:
        chosen = chooser.choose(key)
        found = answer(routes, key)
        assert split[chosen] > 0
        assert answer(twin, key) == found
        if chosen in alive:
            assert found == (int(chosen), Reason.SPLIT, chosen)
        elif found is None:
            # An arm whose weight is too small for a single bucket has no share.
            assert not any(shares[arm] for arm in alive)
        else:
            assert found[1] is Reason.STANDBY
            assert found[2] in alive
            assert not shares[largest or ""] or found[2] == largest
