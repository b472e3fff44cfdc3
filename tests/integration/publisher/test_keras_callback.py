"""Real trainings that publish onto a real log."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from headrace.publisher import (
    BrokerUnreachable,
    InvalidArgument,
    KafkaConnection,
    ModelPublisher,
)
from headrace.publisher.history import read_control
from headrace.publisher.keras import PublishBest
from headrace.schemas.records import ModelVersion
from headrace.schemas.topics import Topics
from tests.keras_models import Network, scripted, train, untrained_line

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def line() -> Network:
    """A network whose training always goes the same way."""
    return untrained_line()


async def versions(connection: KafkaConnection, topics: Topics) -> list[ModelVersion]:
    """Return the versions in the log, oldest first."""
    entries = await read_control(connection, topics)
    return [entry.record for entry in entries if isinstance(entry.record, ModelVersion)]


async def test_each_epoch_that_improves_becomes_a_version(
    line: Network, publisher: ModelPublisher, connection: KafkaConnection, topics: Topics
) -> None:
    """With its epoch and metrics, beside what the caller wants to be told."""
    callback = PublishBest("line", publisher, metadata={"run": "7"})
    history = train(line, callback, epochs=3, validation_split=0.25)
    assert history["val_loss"] == sorted(history["val_loss"], reverse=True)
    assert [published.version for published in callback.published] == [1, 2, 3]
    assert callback.failures == []
    records = await versions(connection, topics)
    assert [record.signatures for record in records] == [("serve", "serving_default")] * 3
    for epoch, record in enumerate(records):
        metadata = dict(record.metadata)
        assert metadata.pop("run") == "7"
        assert metadata.pop("epoch") == str(epoch + 1)
        assert metadata.pop("monitor") == "val_loss"
        assert {name: float(value) for name, value in metadata.items()} == {
            name: values[epoch] for name, values in history.items()
        }
    assert len({record.digest for record in records}) == 3


async def test_publishing_does_not_disturb_the_training(
    line: Network, publisher: ModelPublisher
) -> None:
    """The weights become what they become without."""
    start = line.get_weights()
    alone = train(line, epochs=4)
    line.set_weights(start)
    callback = PublishBest("line", publisher, monitor="loss")
    assert train(line, callback, epochs=4) == alone
    assert len(callback.published) == 4


@pytest.mark.parametrize(
    "case",
    [
        ({"mode": "max"}, [1.0, 0.5, 2.0, math.nan, 2.0, 3.0], ["1", "3", "6"]),
        ({"mode": "min"}, [math.nan, 1.0, 2.0, 0.5, math.nan, 0.25], ["2", "4", "6"]),
        ({"mode": "min", "min_delta": 0.5}, [2.0, 1.75, 1.25, 1.0, 0.5], ["1", "3", "5"]),
        ({"mode": "max", "better_than": 2.0}, [1.0, 2.0, 3.0, 2.5], ["3"]),
    ],
)
async def test_only_improvements_are_published(
    line: Network,
    publisher: ModelPublisher,
    connection: KafkaConnection,
    topics: Topics,
    case: tuple[dict[str, Any], list[float], list[str]],
) -> None:
    """By the metric that is monitored, in the direction that counts."""
    options, values, epochs = case
    callback = PublishBest("line", publisher, monitor="scripted", **options)
    train(line, scripted(values), callback, epochs=len(values))
    assert [record.metadata["epoch"] for record in await versions(connection, topics)] == epochs
    assert len(callback.published) == len(epochs)


async def test_the_best_is_kept_from_one_fit_to_the_next(
    line: Network, publisher: ModelPublisher
) -> None:
    """A model that is trained on and on is never replaced by a worse one."""
    callback = PublishBest("line", publisher, monitor="scripted", mode="max")
    for values, in_all in ([2.0, 3.0], 2), ([1.0, 2.5], 2), ([4.0, 0.0], 3):
        train(line, scripted(values), callback, epochs=2)
        assert len(callback.published) == in_all


async def test_training_survives_a_broker_that_is_away(line: Network, tmp_path: Path) -> None:
    """It warns; the epoch does not count, so a later one that beats the last published is one."""
    away = ModelPublisher(
        KafkaConnection("127.0.0.1:1", connect_timeout_seconds=0.2), store=str(tmp_path / "away")
    )
    callback = PublishBest("line", away, monitor="scripted", mode="min")
    with structlog.testing.capture_logs() as logs:
        history = train(line, scripted([2.0, 1.0]), callback, epochs=2)
    assert len(history["loss"]) == 2
    assert callback.published == []
    assert [type(failure) for failure in callback.failures] == [BrokerUnreachable] * 2
    assert [(entry["event"], entry["log_level"], entry["epoch"]) for entry in logs] == [
        ("publication.failed", "warning", 1),
        ("publication.failed", "warning", 2),
    ]


async def test_after_a_failure_the_next_best_epoch_is_published(
    line: Network, publisher: ModelPublisher
) -> None:
    """What was never published is not what a later epoch has to beat."""
    callback = PublishBest("line", publisher, monitor="scripted", mode="min")
    export = line.export

    def fail_once(*_arguments: object, **_options: object) -> None:
        line.export = export
        raise OSError(28, "No space left on device")

    line.export = fail_once
    train(line, scripted([1.0, 2.0, 3.0]), callback, epochs=3)
    assert [str(failure) for failure in callback.failures] == ["[Errno 28] No space left on device"]
    assert len(callback.published) == 1


async def test_a_failure_may_end_the_training(line: Network, tmp_path: Path) -> None:
    """For who would rather know at once."""
    away = ModelPublisher(
        KafkaConnection("127.0.0.1:1", connect_timeout_seconds=0.2), store=str(tmp_path / "away")
    )
    with pytest.raises(BrokerUnreachable):
        train(line, PublishBest("line", away, monitor="loss", on_error="raise"), epochs=2)


async def test_a_metric_that_is_not_there_is_told_at_the_first_epoch(
    line: Network, publisher: ModelPublisher
) -> None:
    """With those that are, and whatever is done about failures."""
    with pytest.raises(
        InvalidArgument, match="'val_loss' after the first epoch, it reports loss, mae"
    ):
        train(line, PublishBest("line", publisher), epochs=2)


async def test_epochs_without_validation_are_passed_over(
    line: Network, publisher: ModelPublisher
) -> None:
    """`validation_freq` leaves the metric out where it says so."""
    callback = PublishBest("line", publisher)
    train(line, callback, epochs=4, validation_split=0.25, validation_freq=[1, 4])
    assert len(callback.published) == 2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PublishBest("no such name"), "no such name"),
        (lambda: PublishBest("line", monitor="perplexity"), "say mode='max' or mode='min'"),
        (lambda: PublishBest("line", on_error="ignore"), "give 'log' or 'raise'"),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    ],
)
def test_what_cannot_be_is_refused_before_the_training(
    make: Callable[[], PublishBest], words: str
) -> None:
    """Not after an epoch of hours."""
    with pytest.raises(InvalidArgument, match=words):
        make()


async def test_a_version_that_nobody_serves_is_reported(
    line: Network, publisher: ModelPublisher
) -> None:
    """`wait` and its time limit are passed on: without a node, nobody serves it."""
    callback = PublishBest("line", publisher, monitor="loss", wait="any", timeout=0.5)
    train(line, callback, epochs=1)
    (failure,) = callback.failures
    assert "no live node said anything" in str(failure)
