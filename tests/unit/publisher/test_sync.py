"""The blocking twin of the publisher, where it must not be used."""

from pathlib import Path

import pytest

from headrace.publisher import InvalidModel, KafkaConnection, SyncModelPublisher


async def test_refuses_to_block_an_event_loop() -> None:
    """Inside a loop, the message names the class to use."""
    with (
        pytest.raises(RuntimeError, match="await its calls"),
        SyncModelPublisher(KafkaConnection()),
    ):
        pass


def test_wants_a_with_statement(tmp_path: Path) -> None:
    """Without one, nobody would close the loop."""
    with pytest.raises(RuntimeError, match="with statement"):
        SyncModelPublisher(KafkaConnection()).publish("ranker", 1, tmp_path)


def test_raises_what_the_publisher_raises(tmp_path: Path) -> None:
    """Bad input is refused before anything is connected."""
    with (
        SyncModelPublisher(KafkaConnection("localhost:1")) as publisher,
        pytest.raises(InvalidModel, match="there is nothing at"),
    ):
        publisher.publish("ranker", 1, tmp_path / "nowhere")
