"""A request that a node could not use, put right and sent again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headrace.publisher import KafkaConnection, make_request
from headrace.publisher.dead_letters import DeadLetters
from headrace.publisher.letter_replay import Fate, LetterReplay, ReplayOptions
from headrace.publisher.topics import ensure_topics
from headrace.schemas.codec import decode, encode
from headrace.schemas.records import InferenceResponse
from headrace.schemas.tensors import from_tensor
from headrace.schemas.topics import TopicSpec
from tests.e2e.rig import Site, deployment
from tests.fakes.correspondent import correspondent
from tests.models import model

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def site(bootstrap_servers: str, unique_name: str, tmp_path: Path) -> Site:
    """A deployment of this test's own on the shared broker."""
    return Site(KafkaConnection(bootstrap_servers), unique_name, tmp_path)


async def test_a_dead_letter_is_answered_once_its_cause_is_gone(site: Site) -> None:
    """A reply topic that did not exist is created; the replayed request is answered there."""
    replies = f"{site.name}.late-replies"
    value = encode(make_request("m", {"x": np.array([[1], [2], [5]], np.float32)}))
    headers = [("correlation-id", b"c-1"), ("reply-topic", replies.encode())]
    async with (
        deployment(site) as (node, publisher),
        correspondent(site.connection) as client,
        site.connection.producer() as producer,
        DeadLetters(site.connection, site.topics) as letters,
    ):
        await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")
        await (await producer.send(site.topics.requests, key=b"k", value=value, headers=headers))
        await client.read(site.topics.dead_letters, 1)
        (entry,) = await letters.newest()
        assert (entry.model, entry.key) == ("m", b"k")
        assert replies in entry.reason
        await ensure_topics(site.connection, [TopicSpec(name=replies, partitions=1)])
        survey = await letters.survey()
        (fate,) = await LetterReplay(letters, ReplayOptions()).run(survey, lambda _d, _t: None)
        assert fate.fate is Fate.REPLAYED
        (answer,) = await client.read(replies, 1)
        assert await node.stop() == 0
    assert dict(answer.headers)["correlation-id"] == b"c-1"
    outputs = decode(answer.value or b"", InferenceResponse).outputs
    assert from_tensor(outputs[0]).reshape(-1).tolist() == [2.5, 3.0, 4.5]
