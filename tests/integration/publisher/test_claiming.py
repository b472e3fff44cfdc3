"""Requests too large for their topic, from the client over a store to whoever fetches them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from headrace.consumer.stream.claims import Claims
from headrace.publisher import (
    Inference,
    InferenceClient,
    InferenceFailed,
    KafkaConnection,
    StoreError,
    make_request,
)
from headrace.publisher.topics import ensure_topics
from headrace.schemas.claims import Claim
from headrace.schemas.records import InferenceRequest, InferenceResponse
from headrace.schemas.tensors import from_tensor, to_tensor
from headrace.schemas.topics import Topics, specs
from tests.fakes.responder import Responder

LARGE = np.arange(300_000, dtype=np.float64)
SMALL = np.arange(3, dtype=np.float64)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder that is not there yet."""
    return tmp_path / "claim-store"


@pytest.fixture
async def responder(
    connection: KafkaConnection, topics: Topics, store: Path
) -> AsyncIterator[Responder]:
    await ensure_topics(connection, specs(topics, request_partitions=2))
    async with Claims([str(store)], 10_000_000) as claims:
        yield Responder(connection, topics, 2, claims)


@pytest.fixture
async def client(
    connection: KafkaConnection, topics: Topics, responder: Responder, store: Path
) -> AsyncIterator[InferenceClient]:
    async with InferenceClient(connection, topics=topics, claim_store=str(store)) as opened:
        yield opened


def first(request: InferenceRequest) -> InferenceResponse:
    """Answer with half plus two of the first number: an answer has to fit its topic."""
    y = from_tensor(request.inputs[0])[:1] / 2 + 2
    return InferenceResponse(model=request.model, version=3, outputs=(to_tensor("y", y),))


def files(folder: Path) -> list[Path]:
    """Return what lies in a folder."""
    return list(folder.iterdir())


async def test_a_large_request_is_claimed_and_answered(
    client: InferenceClient, responder: Responder, store: Path
) -> None:
    """The record is small, tells the route, and leads to the bytes of the request."""
    async with responder.answering(first):
        answer = await client.infer("ranker", {"x": LARGE + 1}, label="stable", key=b"k")
    assert answer.outputs["y"].tolist() == [2.5]
    (message,) = responder.seen
    headers = dict(message.headers)
    assert headers["content-type"] == b"application/vnd.headrace.claim"
    assert (headers["model"], headers["label"]) == (b"ranker", b"stable")
    assert "version" not in headers
    assert message.key == b"k"
    claim = Claim.decode(message.value or b"")
    (file,) = files(store)
    assert claim.uri == f"file://{file}"
    assert claim.size_bytes == file.stat().st_size > LARGE.nbytes
    assert claim.digest == f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert claim.content_type is None


async def test_small_and_large_requests_are_answered_in_their_places(
    client: InferenceClient, responder: Responder, store: Path
) -> None:
    """Only what is too large goes to the store, the same bytes once; versions travel too."""
    requests = [
        make_request("ranker", {"x": LARGE + n % 4 if n % 3 == 0 else SMALL + n}, version=3)
        for n in range(40)
    ]
    async with responder.answering(first):
        answers = await client.infer_many(requests, keys=[b"k"] * 40, timeout=60)
    for n, answer in enumerate(answers):
        assert isinstance(answer, Inference)
        assert answer.outputs["y"].tolist() == [(n % 4 if n % 3 == 0 else n) / 2 + 2]
    claimed = [m for m in responder.seen if "content-type" in dict(m.headers)]
    assert len(claimed) == 14
    assert all(dict(message.headers)["version"] == b"3" for message in claimed)
    assert len(files(store)) == 4


async def test_without_a_store_the_caller_hears_what_to_do(
    connection: KafkaConnection, topics: Topics, responder: Responder
) -> None:
    """The limit, and both ways around it."""
    async with InferenceClient(connection, topics=topics) as client:
        with pytest.raises(InferenceFailed, match=r"max\.message\.bytes .*claim_store"):
            await client.infer("ranker", {"x": LARGE})


async def test_a_store_that_cannot_be_written_fails_its_request_only(
    client: InferenceClient, responder: Responder, store: Path
) -> None:
    """The neighbours are answered."""
    await asyncio.to_thread(store.write_text, "a file where the folder should be")
    async with responder.answering():
        failed, fine = await client.infer_many(
            [("ranker", {"x": LARGE}), ("ranker", {"x": SMALL})], timeout=30
        )
    assert isinstance(failed, InferenceFailed)
    assert failed.code == "UNAVAILABLE"
    assert "cannot write to the claim store" in failed.reason
    assert isinstance(fine, Inference)


@pytest.mark.parametrize("uri", ["nowhere://x", "s3://" + "x" * 5000, "file:///a b"])
def test_a_store_that_cannot_be_is_refused_at_once(connection: KafkaConnection, uri: str) -> None:
    """Before anything is asked."""
    with pytest.raises(StoreError, match="claim store"):
        InferenceClient(connection, claim_store=uri)
