"""Which configurations make sense."""

import pytest

from headrace.publisher.configuration import check, policy_words
from headrace.publisher.errors import InvalidArgument
from headrace.schemas.records import MAX_VERSION, Batching, ModelConfig, PolicyKind, VersionPolicy

LABELS = {"stable": 3, "canary": 4}


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(model="ranker"),
        ModelConfig(model="ranker", labels=LABELS, split={"stable": 95, "canary": 5}),
        ModelConfig(model="ranker", labels=LABELS, split={"stable": 1, "canary": 0, "17": 4}),
        ModelConfig(model="ranker", labels=LABELS, split={"stable": 1, "canary": 9_999}),
        ModelConfig(model="ranker", split={"other": 1, "other@stable": 1, "ranker@3": 1}),
        ModelConfig(model="ranker", policy=VersionPolicy(kind=PolicyKind.ALL)),
        ModelConfig(model="ranker", batching=Batching(max_rows=8, allowed_rows=(1, 8)), replicas=2),
        ModelConfig(
            model="ranker",
            policy=VersionPolicy(kind=PolicyKind.SPECIFIC, versions=(1, MAX_VERSION)),
        ),
    ],
)
def test_takes_what_makes_sense(config: ModelConfig) -> None:
    """Whether the versions, labels and models are there, is not looked at here."""
    check(config)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (ModelConfig(model="a/b"), "model name 'a/b'"),
        (ModelConfig(model=""), "model name ''"),
        (ModelConfig(model="m", policy=VersionPolicy(latest=0)), "latest:0 is not allowed"),
        (
            ModelConfig(model="m", policy=VersionPolicy(kind=PolicyKind.SPECIFIC)),
            "names no version",
        ),
        (
            ModelConfig(model="m", policy=VersionPolicy(kind=PolicyKind.SPECIFIC, versions=(0,))),
            "policy: version 0",
        ),
        (ModelConfig(model="m", labels={"3": 3}), "label '3' is not allowed"),
        (ModelConfig(model="m", labels={"a b": 3}), "label 'a b' is not allowed"),
        (ModelConfig(model="m", labels={"stable": 0}), "label 'stable': version 0"),
        (ModelConfig(model="m", labels=LABELS, split={"stable": -1}), "weight -1 of 'stable'"),
        (ModelConfig(model="m", labels=LABELS, split={"stable": 2**31}), "weight 2147483648"),
        (ModelConfig(model="m", labels=LABELS, split={"stable": 0, "canary": 0}), "add up to 0"),
        (ModelConfig(model="m", split={"a b": 1}), "arm 'a b' is neither.*can it be a model"),
        (ModelConfig(model="m", split={"other@": 1}), "names nothing behind '@'"),
        (
            ModelConfig(model="m", labels=LABELS, split={"stable": 1, "canary": 10_000}),
            "weight 1 of 'stable' is less than 1 in 10000 of all weights",
        ),
        (ModelConfig(model="m", split={"9" * 5000: 1}), "is neither"),
        (ModelConfig(model="m", split={"٣": 1}), "is neither"),
        (ModelConfig(model="m", batching=Batching(max_rows=0)), "max batch rows 0"),
        (ModelConfig(model="m", batching=Batching(timeout_micros=-1)), "batch timeout -1"),
        (
            ModelConfig(model="m", batching=Batching(max_rows=8, allowed_rows=(0, 8))),
            "rows 0,8 are not allowed",
        ),
        (
            ModelConfig(model="m", batching=Batching(max_rows=8, allowed_rows=(4, 4, 8))),
            "rows 4,4,8 are not allowed",
        ),
        (
            ModelConfig(model="m", batching=Batching(allowed_rows=(1, 8))),
            "end with 8, and max batch rows are 1024",
        ),
        (ModelConfig(model="m", replicas=0), "replicas 0 is not allowed"),
        (ModelConfig(model="m", replicas=257), "use 1 to 256"),
    ],
)
def test_refuses_in_words_what_does_not(config: ModelConfig, words: str) -> None:
    """The message names the value and what would be allowed."""
    with pytest.raises(InvalidArgument, match=words):
        check(config)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (VersionPolicy(latest=2), "latest:2"),
        (VersionPolicy(kind=PolicyKind.SPECIFIC, versions=(3, 5)), "specific:3,5"),
        (VersionPolicy(kind=PolicyKind.ALL), "all"),
    ],
)
def test_policies_read_as_they_are_typed(policy: VersionPolicy, words: str) -> None:
    """What `headrace config` shows can be given back to it."""
    assert policy_words(policy) == words
