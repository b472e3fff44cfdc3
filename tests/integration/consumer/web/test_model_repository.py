"""Open Inference's model repository over REST, as Triton's clients ask it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import aiohttp
import pytest

from headrace.consumer.core.errors import RequestError, ServableNotFound
from headrace.consumer.core.repository import Listed, ModelWish
from headrace.schemas.records import ServableState
from tests.integration.consumer.web.rig import client_of, post, ready_rig


class Shelf:
    """A repository that remembers what it is asked to do.

    **Concurrency:** event loop only.
    """

    def __init__(self) -> None:
        self.listed = [
            Listed("m", number, state, "corrupt" if state is ServableState.END else "")
            for number, state in enumerate((*ServableState, None), start=1)
        ]
        self.asked: list[str] = []
        self.error: RequestError | None = None

    def index(self) -> Sequence[Listed]:
        """Return a version in each state."""
        return self.listed

    async def reload(self, models: Sequence[ModelWish]) -> None:
        """Nobody asks that here."""
        raise NotImplementedError

    async def load(self, model: str) -> None:
        """Remember it."""
        await self._ask(f"load {model}")

    async def unload(self, model: str) -> None:
        """Remember it."""
        await self._ask(f"unload {model}")

    async def _ask(self, what: str) -> None:
        if self.error is not None:
            raise self.error
        self.asked.append(what)


@pytest.fixture
async def shelf() -> Shelf:
    """The models behind the door."""
    return Shelf()


@pytest.fixture
async def client(shelf: Shelf) -> AsyncGenerator[aiohttp.ClientSession]:
    """A client of a node that may change models."""
    async with ready_rig(repository=shelf).open() as door, client_of(door) as client:
        yield client


async def test_index_has_every_version_with_its_state(client: aiohttp.ClientSession) -> None:
    """In the protocol's words."""
    reply = await post(client, "/v2/repository/index", b"")
    assert reply.status == 200
    states = {entry["version"]: entry["state"] for entry in reply.body}
    assert states == {
        "1": "LOADING",
        "2": "LOADING",
        "3": "READY",
        "4": "UNLOADING",
        "5": "UNAVAILABLE",
        "6": "UNAVAILABLE",
    }
    assert {entry["name"] for entry in reply.body} == {"m"}
    assert [entry["reason"] for entry in reply.body] == ["", "", "", "", "corrupt", ""]


async def test_index_of_what_is_ready_has_nothing_else(client: aiohttp.ClientSession) -> None:
    """`ready` in the body."""
    reply = await post(client, "/v2/repository/index", {"ready": True})
    assert [entry["version"] for entry in reply.body] == ["3"]


@pytest.mark.parametrize("verb", ["load", "unload"])
@pytest.mark.parametrize("body", [b"", {}, {"parameters": {"unload_dependents": False}}])
async def test_models_are_loaded_and_unloaded_by_name(
    client: aiohttp.ClientSession, shelf: Shelf, verb: str, body: object
) -> None:
    """The answer comes when it is done, and says nothing more."""
    reply = await post(client, f"/v2/repository/models/a%2Fb/{verb}", body)
    assert (reply.status, reply.body) == (200, {})
    assert shelf.asked == [f"{verb} a/b"]


async def test_what_the_repository_refuses_is_an_error(
    client: aiohttp.ClientSession, shelf: Shelf
) -> None:
    """With its code and words."""
    shelf.error = ServableNotFound("the log has no model m")
    reply = await post(client, "/v2/repository/models/m/load", b"")
    assert (reply.status, reply.body) == (404, {"error": "the log has no model m"})


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("index", b"{", "the request's JSON cannot be used"),
        ("index", {"ready": "yes"}, "Expected `bool`, got `str` - at `$.ready`"),
        ("models/m/load", b"[" * 100_000, "the request's JSON cannot be used"),
        ("models/m/load", {"parameters": {"config": "{}"}}, "parameter 'config' is not served"),
        ("models/m/load", {"parameters": {"file:1/model": ""}}, "'file:1/model' is not served"),
    ],
)
async def test_request_that_makes_no_sense_changes_nothing(
    client: aiohttp.ClientSession, shelf: Shelf, path: str, body: object, error: str
) -> None:
    """Nor one that would have something else loaded than was published."""
    reply = await post(client, f"/v2/repository/{path}", body)
    assert reply.status == 400
    assert error in reply.body["error"]
    assert shelf.asked == []


@pytest.mark.parametrize("path", ["index", "models/m/load", "models/m/unload"])
async def test_node_that_changes_no_models_says_so(path: str) -> None:
    """With what to do instead."""
    async with ready_rig().open() as door, client_of(door) as client:
        reply = await post(client, f"/v2/repository/{path}", b"")
        assert reply.status == 501
        assert "publish and retire instead" in reply.body["error"]
