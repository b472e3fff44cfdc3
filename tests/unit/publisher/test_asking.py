"""Requests made, answers read, and the book of what is outstanding."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from headrace.publisher.errors import InferenceFailed, InvalidArgument
from headrace.publisher.inference import (
    Inference,
    encode_request,
    make_request,
    read_answer,
    routing_headers,
)
from headrace.publisher.outstanding import Call, Outstanding
from headrace.schemas import codec
from headrace.schemas.records import InferenceError, InferenceRequest, InferenceResponse
from headrace.schemas.tensors import to_tensor

LATE = InferenceFailed("DEADLINE_EXCEEDED", "no answer")


@dataclass(frozen=True)
class Answer:
    """A record of the response topic."""

    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    topic: str = "responses"
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
    key: bytes | None = None


def answered(number: int = 0) -> Inference:
    """Return an answer that can be told apart."""
    return Inference({}, "ranker", number, "serving_default", {})


def test_a_request_carries_route_and_tensors() -> None:
    """What the caller names is what the node reads."""
    request = make_request("ranker", {"x": [[1.0, 2.0]]}, label="stable", output_filter=["y"])
    decoded = codec.decode(encode_request(request), InferenceRequest)
    assert (decoded.model, decoded.label, decoded.version) == ("ranker", "stable", None)
    assert decoded.output_filter == ("y",)
    assert decoded.inputs == (to_tensor("x", np.array([[1.0, 2.0]])),)


def test_a_request_names_a_version_or_a_label() -> None:
    """Both would contradict each other."""
    with pytest.raises(ValueError, match="a version or a label"):
        make_request("ranker", {}, version=3, label="stable")


def test_inputs_without_a_wire_form_are_refused_before_they_travel() -> None:
    """The error has the code that the node would give."""
    with pytest.raises(InferenceFailed, match="INVALID_ARGUMENT: tensor 'x'"):
        encode_request(("ranker", {"x": np.array([object()])}))


def test_an_answer_has_outputs_and_provenance() -> None:
    """Where an answer came from is in its headers."""
    response = InferenceResponse(
        model="ranker", version=3, outputs=(to_tensor("y", np.array([2.5], np.float32)),)
    )
    headers = [
        *(("node", b"a"), ("control-offset", b"17"), ("artifact-digest", b"sha256:aa")),
        *(("plan-offset", b"19"), ("routed-by", b"split"), ("arm", b"canary")),
    ]
    answer = read_answer(Answer(codec.encode(response), headers))
    assert isinstance(answer, Inference)
    assert answer.outputs["y"].tolist() == [2.5]
    assert (answer.model, answer.version, answer.node) == ("ranker", 3, "a")
    assert (answer.control_offset, answer.artifact_digest) == (17, "sha256:aa")
    assert (answer.plan_offset, answer.routed_by, answer.arm) == (19, "split", "canary")


def test_an_older_node_says_less_of_an_answers_origin() -> None:
    """What it does not say is None, and the answer is one all the same."""
    answer = read_answer(Answer(codec.encode(InferenceResponse(model="ranker", version=3))))
    assert isinstance(answer, Inference)
    assert (answer.plan_offset, answer.routed_by, answer.arm) == (None, None, None)


def test_how_a_request_is_to_be_routed_travels_in_headers() -> None:
    """Only what the caller says, and nothing that no node would take."""
    assert routing_headers(None, None) == []
    assert routing_headers(b"user-7", 0) == [("affinity", b"user-7"), ("min-control-offset", b"0")]
    with pytest.raises(InvalidArgument, match="min_control_offset is -1"):
        routing_headers(None, -1)


def test_an_answer_may_be_an_error() -> None:
    """Its code and sentence are the node's."""
    error = InferenceError(code="NOT_FOUND", message="Servable not found")
    answer = read_answer(Answer(codec.encode(InferenceResponse(model="ranker", error=error))))
    assert isinstance(answer, InferenceFailed)
    assert (answer.code, answer.reason) == ("NOT_FOUND", "Servable not found")


@pytest.mark.parametrize("value", [None, b"", b"garbage", b"\xc3\x01" + bytes(20)])
def test_an_unreadable_answer_is_an_error(value: bytes | None) -> None:
    """It fails its own request and nothing else."""
    answer = read_answer(Answer(value))
    assert isinstance(answer, InferenceFailed)
    assert answer.code == "INTERNAL"


async def test_results_stand_where_their_requests_stood() -> None:
    """Answers come in any order."""
    outstanding, call = Outstanding(10), Call(3)
    ids = [await outstanding.expect(call, index) for index in range(3)]
    for index in (2, 0, 1):
        assert not call.settled.done()
        outstanding.settle(ids[index], answered(index))
    assert call.settled.done()
    assert call.results == [answered(0), answered(1), answered(2)]


async def test_the_first_result_counts() -> None:
    """At-least-once delivery may bring an answer twice, and an answer may follow a failure."""
    outstanding, call = Outstanding(10), Call(1)
    correlation_id = await outstanding.expect(call, 0)
    outstanding.settle(correlation_id, answered(1))
    outstanding.settle(correlation_id, answered(2))
    call.settle_rest(LATE)
    assert call.results == [answered(1)]
    assert not outstanding.is_waiting(correlation_id)


async def test_ids_of_clients_differ() -> None:
    """All clients read one response topic."""
    ids = [await Outstanding(1).expect(Call(1), 0) for _ in range(2)]
    assert ids[0] != ids[1]


async def test_a_full_book_waits_for_an_answer() -> None:
    """More than the limit is never outstanding."""
    outstanding, call = Outstanding(1), Call(2)
    first = await outstanding.expect(call, 0)
    assert outstanding.is_full
    async with asyncio.TaskGroup() as group:
        second = group.create_task(outstanding.expect(call, 1))
        outstanding.settle(first, answered())
    assert outstanding.is_waiting(await second)


async def test_abandoned_requests_make_room() -> None:
    """A call that timed out holds no place."""
    outstanding, call = Outstanding(2), Call(2)
    ids = [await outstanding.expect(call, index) for index in range(2)]
    outstanding.settle(ids[0], answered())
    outstanding.abandon(call)
    outstanding.settle(ids[1], answered())
    assert call.results == [answered(), None]
    other = Call(2)
    for index in range(2):
        await outstanding.expect(other, index)
    assert outstanding.is_full


async def test_when_reading_fails_everybody_hears_of_it() -> None:
    """Those who wait, and those who come later."""
    outstanding, call = Outstanding(1), Call(1)
    await outstanding.expect(call, 0)
    failure = InferenceFailed("UNAVAILABLE", "answers cannot be read")
    outstanding.fail(failure)
    assert call.results == [failure]
    for _ in range(2):
        with pytest.raises(InferenceFailed, match="cannot be read"):
            await outstanding.expect(Call(1), 0)


async def test_no_requests_are_settled_at_once() -> None:
    """An empty call has nothing to wait for."""
    assert Call(0).settled.done()
