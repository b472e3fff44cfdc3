"""The model repository extension, called by Triton's own client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from grpc import aio

from headrace.consumer.core.errors import InvalidRequest, ServableNotFound
from headrace.consumer.core.repository import Listed
from headrace.schemas.records import ServableState
from tests.integration.consumer.rpc.rig import Rig, refusal
from tests.integration.consumer.rpc.triton import Client, aio_client, error_of, messages, stub

LISTED = [
    Listed("a", 1, None, "unloaded"),
    Listed("a", 2, ServableState.AVAILABLE, ""),
    Listed("a", 3, ServableState.LOADING, ""),
    Listed("b", 1, ServableState.START, ""),
    Listed("b", 2, ServableState.UNLOADING, ""),
    Listed("b", 3, ServableState.END, "the artefact is corrupt"),
]


@pytest.fixture
async def triton(rig: Rig) -> AsyncGenerator[Client, None]:
    """Triton's asyncio client."""
    rig.repository.listed = LISTED
    async with aio_client(rig) as client:
        yield client


async def test_index_has_every_version_and_its_state(triton: Client) -> None:
    """In Triton's words, with the reason why one does not serve."""
    index = await triton.get_model_repository_index()
    assert [(each.name, each.version, each.state, each.reason) for each in index.models] == [
        ("a", "1", "UNAVAILABLE", "unloaded"),
        ("a", "2", "READY", ""),
        ("a", "3", "LOADING", ""),
        ("b", "1", "LOADING", ""),
        ("b", "2", "UNLOADING", ""),
        ("b", "3", "UNAVAILABLE", "the artefact is corrupt"),
    ]


async def test_index_of_what_is_ready(rig: Rig, channel: aio.Channel) -> None:
    """A client may ask for the versions that answer only."""
    rig.repository.listed = LISTED
    index = await stub(channel).RepositoryIndex(messages.RepositoryIndexRequest(ready=True))
    assert [(each.name, each.version) for each in index.models] == [("a", "2")]


@pytest.mark.parametrize("change", ["load", "unload"])
async def test_change_answers_when_it_is_done(rig: Rig, triton: Client, change: str) -> None:
    """Triton answers before, and clients that go on at once are surprised."""
    rig.repository.may_end.clear()
    call = asyncio.ensure_future(getattr(triton, f"{change}_model")("a"))
    # Long enough for a door that does not wait.
    await asyncio.wait({call}, timeout=0.3)
    assert not call.done()
    rig.repository.may_end.set()
    await asyncio.wait_for(call, 10)
    assert rig.repository.asked == [(change, "a")]


@pytest.mark.parametrize("change", ["load", "unload"])
async def test_change_that_cannot_be_is_refused(rig: Rig, triton: Client, change: str) -> None:
    """With the repository's code and words."""
    rig.repository.refusal = ServableNotFound("the log has no model a")
    assert await error_of(getattr(triton, f"{change}_model")("a")) == (
        "NOT_FOUND",
        "the log has no model a",
    )


async def test_dependents_of_which_there_are_none_may_be_unloaded(rig: Rig, triton: Client) -> None:
    """The client sends the parameter with every call."""
    await triton.unload_model("a", unload_dependents=True)
    assert rig.repository.asked == [("unload", "a")]


@pytest.mark.parametrize(
    "brought", [{"config": '{"backend": "onnx"}'}, {"config": "{}", "files": {"file:1/m": b"m"}}]
)
async def test_model_that_a_client_brings_is_refused(
    rig: Rig, triton: Client, brought: dict[str, Any]
) -> None:
    """Loading something else than what was sent would be worse."""
    code, message = await error_of(triton.load_model("a", **brought))
    assert code == "INVALID_ARGUMENT"
    assert "publish a version there" in message
    assert rig.repository.asked == []


WRONG: list[tuple[str, dict[str, Any], str, str]] = [
    ("Index", {"repository_name": "r"}, "UNIMPLEMENTED", "there is one repository"),
    ("ModelLoad", {"repository_name": "r"}, "UNIMPLEMENTED", "there is one repository"),
    ("ModelUnload", {"repository_name": "r"}, "UNIMPLEMENTED", "there is one repository"),
    ("ModelLoad", {}, "INVALID_ARGUMENT", "names no model"),
    ("ModelUnload", {}, "INVALID_ARGUMENT", "names no model"),
    (
        "ModelUnload",
        {"model_name": "a", "parameters": {"unload_dependents": {"int64_param": 1}}},
        "INVALID_ARGUMENT",
        "must be a bool_param",
    ),
    (
        "ModelUnload",
        {"model_name": "a", "parameters": {"force": {"bool_param": True}}},
        "INVALID_ARGUMENT",
        "'force' is not known",
    ),
]


@pytest.mark.parametrize(("method", "fields", "code", "words"), WRONG)
async def test_request_that_makes_no_sense_is_refused(
    channel: aio.Channel, method: str, fields: dict[str, Any], code: str, words: str
) -> None:
    """Nothing is left out silently."""
    request = getattr(messages, f"Repository{method}Request")(**fields)
    error = await refusal(getattr(stub(channel), f"Repository{method}")(request))
    assert error.code().name == code
    assert words in (error.details() or "")


async def test_refusal_that_the_repository_finds_keeps_its_code(rig: Rig, triton: Client) -> None:
    """Every error that a caller can meet has one status."""
    rig.repository.refusal = InvalidRequest("because of the test")
    assert await error_of(triton.load_model("a")) == ("INVALID_ARGUMENT", "because of the test")
