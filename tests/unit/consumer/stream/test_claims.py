"""Fetching claimed payloads: what is asked for by friends, and by others."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from threading import Event

import pytest

from headrace.consumer.core.errors import (
    ClaimRefused,
    DeadlineExceeded,
    NodeError,
    PayloadCorrupt,
    PayloadMissing,
    PayloadTooLarge,
    PayloadUnreachable,
    RequestError,
    UnreadableRequest,
)
from headrace.consumer.stream import payload_stores
from headrace.consumer.stream.claims import Claims
from headrace.publisher.claim_store import ClaimStore
from headrace.publisher.filesystems import url_to_fs
from headrace.schemas.claims import Claim

PAYLOAD = b"payload" * 1000
DIGEST = f"sha256:{hashlib.sha256(PAYLOAD).hexdigest()}"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with one payload, beside a file that is nobody's business."""
    folder = tmp_path / "store"
    (folder / "sub").mkdir(parents=True)
    (folder / "payload").write_bytes(PAYLOAD)
    (folder / "sub" / "payload").write_bytes(PAYLOAD)
    (tmp_path / "secret").write_bytes(PAYLOAD)
    return folder


@pytest.fixture
async def claims(store: Path) -> AsyncIterator[Claims]:
    async with Claims([store.as_uri()], 10_000) as opened:
        yield opened


def claim(uri: str, digest: str = DIGEST, size_bytes: int = len(PAYLOAD)) -> bytes:
    """Return the value of a record that claims a payload."""
    return Claim(uri=uri, digest=digest, size_bytes=size_bytes).encode()


@pytest.mark.parametrize("name", ["payload", "sub/payload"])
@pytest.mark.parametrize("form", ["{}/{}", "file://{}/{}", "local://{}/{}"])
async def test_fetches_what_lies_in_a_store(
    claims: Claims, store: Path, form: str, name: str
) -> None:
    """A folder goes by its path and by its URI."""
    assert await claims.fetch(claim(form.format(store, name))) == PAYLOAD


@pytest.mark.parametrize("place", ["folder", "memory"])
async def test_fetches_what_the_client_has_put(tmp_path: Path, place: str) -> None:
    """Both sides name the store alike, whatever kind it is."""
    uri = str(tmp_path / "new") if place == "folder" else f"memory://claims-{tmp_path.name}"
    put = await ClaimStore(uri).put(PAYLOAD)
    async with Claims(["/elsewhere", f"{uri}/"], 10_000) as claims:
        assert await claims.fetch(put.encode()) == PAYLOAD


@pytest.mark.parametrize(
    "uri",
    [
        "{parent}/secret",
        "{store}/../secret",
        "{store}/sub/../../secret",
        "{store}/./payload",
        "{store}//payload",
        "{store}/",
        "{store}",
        "{store}evil/payload",
        "{store}/..",
        "{store}/%2e%2e/secret",
        "{store}/payload?x",
        "{store}/payload#x",
        "{store}/*",
        "{store}/sub\\..\\payload",
        "file://localhost{store}/payload",
        "file://{store}/payload::zip://x",
        "zip://payload::file://{store}/payload",
        "simplecache::file://{store}/payload",
        "FILE://{store}/payload",
        "s3://bucket/payload",
        "http://169.254.169.254/latest",
        "memory://payload",
        "payload",
        "../payload",
    ],
)
async def test_follows_nothing_that_leads_elsewhere(claims: Claims, store: Path, uri: str) -> None:
    """What is allowed is told; what was asked for is not even looked at."""
    hostile = uri.format(store=store, parent=store.parent)
    with pytest.raises(ClaimRefused, match="claim_stores") as refused:
        await claims.fetch(claim(hostile))
    assert str(store) in str(refused.value)


@pytest.mark.parametrize("trick", ["file", "folder", "inside", "pipe", "directory", "device"])
async def test_opens_plain_files_only(claims: Claims, store: Path, trick: str) -> None:
    """Links out of the store and within it, pipes, folders and devices are no payloads."""
    name = "trick"
    if trick == "file":
        (store / name).symlink_to(store.parent / "secret")
    elif trick == "inside":
        (store / name).symlink_to("payload")
    elif trick == "folder":
        (store / name).symlink_to(store.parent)
        name = "trick/secret"
    elif trick == "pipe":
        os.mkfifo(store / name)
    elif trick == "directory":
        (store / name).mkdir()
    else:
        (store / name).symlink_to("/dev/zero")
    async with asyncio.timeout(10):
        with pytest.raises(PayloadMissing, match="no payload"):
            await claims.fetch(claim(f"{store}/{name}"))


async def test_a_payload_that_is_not_there_is_missing(claims: Claims, store: Path) -> None:
    """By the code that says so."""
    with pytest.raises(PayloadMissing) as missing:
        await claims.fetch(claim(f"{store}/nothing"))
    assert missing.value.code.name == "NOT_FOUND"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (PAYLOAD[:-1], "has 6999 bytes"),
        (PAYLOAD + b"x", "more than 7000"),
        (b"", "has 0 bytes"),
        (b"x" * 7000, "has digest sha256:"),
    ],
)
async def test_a_payload_that_is_another_is_corrupt(
    claims: Claims, store: Path, content: bytes, words: str
) -> None:
    """Shorter, longer, empty and altered payloads never reach a model."""
    (store / "payload").write_bytes(content)
    with pytest.raises(PayloadCorrupt, match=words) as corrupt:
        await claims.fetch(claim(f"{store}/payload"))
    assert corrupt.value.code.name == "DATA_LOSS"


async def test_a_payload_that_is_too_large_is_not_looked_at(claims: Claims, store: Path) -> None:
    """What the claim says is enough to refuse it."""
    with pytest.raises(PayloadTooLarge, match="at most 10000") as too_large:
        await claims.fetch(claim(f"{store}/nothing", size_bytes=10_001))
    assert too_large.value.code.name == "RESOURCE_EXHAUSTED"


async def test_a_file_that_does_not_end_is_read_no_further_than_claimed(store: Path) -> None:
    """A claim of a little on much costs a little."""
    with (store / "sparse").open("wb") as sparse:
        sparse.truncate(2**40)
    async with Claims([str(store)], 10_000) as claims, asyncio.timeout(10):
        with pytest.raises(PayloadCorrupt, match="more than 7000"):
            await claims.fetch(claim(f"{store}/sparse"))


async def test_a_store_that_is_away_can_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is not mounted is another thing than a payload that is not there."""
    async with Claims([str(tmp_path / "unmounted")], 10_000) as claims:
        with pytest.raises(PayloadUnreachable, match="unmounted") as away:
            await claims.fetch(claim(f"{tmp_path}/unmounted/x"))
    assert away.value.retriable


async def test_without_stores_claims_are_refused(store: Path) -> None:
    """The setting to change is named."""
    async with Claims([], 10_000) as claims:
        with pytest.raises(ClaimRefused, match="claim_stores is empty"):
            await claims.fetch(claim(f"{store}/payload"))


async def test_a_value_that_is_no_claim_is_unreadable(claims: Claims) -> None:
    """Which makes it a dead letter."""
    with pytest.raises(UnreadableRequest, match="not a claim"):
        await claims.fetch(b"{}")


@pytest.mark.parametrize("store", ["relative", "zip:///x", "file://host/x", "a::b", "s4://x"])
def test_refuses_stores_that_it_would_not_follow(store: str) -> None:
    """At the start, with the setting's name."""
    with pytest.raises(NodeError, match="claim_stores"):
        Claims([store], 1)


class Gate:
    """A remote store whose files open when they are let; a thread that asks waits until then."""

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.uri = f"memory://gate-{name}"
        self.opened = Event()
        self.asked = 0
        self._release = Event()
        self._files, root = url_to_fs(self.uri)

        def opened_as(_uri: str) -> tuple[Gate, str]:
            return self, root

        monkeypatch.setattr(payload_stores, "url_to_fs", opened_as)

    def open(self, path: str, mode: str) -> object:
        """Open a file as a file system of fsspec does."""
        self.asked += 1
        self.opened.set()
        assert self._release.wait(20)
        return self._files.open(path, mode)

    def release(self) -> None:
        """Let everything pass."""
        self._release.set()


async def test_gives_up_at_the_deadline_and_when_the_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever is first; a store that hangs delays nobody for longer."""
    gate = Gate(tmp_path.name, monkeypatch)
    put = await ClaimStore(gate.uri).put(PAYLOAD)
    async with Claims([gate.uri], 10_000, timeout_seconds=0.2) as claims:
        for deadline in (time.monotonic() - 1, time.monotonic() + 0.1, None):
            with pytest.raises(DeadlineExceeded, match="was not there within"):
                await claims.fetch(put.encode(), deadline=deadline)
        gate.release()


async def test_bytes_in_flight_are_bounded_and_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit waits its turn, and a fetch that was given up frees its bytes."""
    gate = Gate(tmp_path.name, monkeypatch)
    value = (await ClaimStore(gate.uri).put(PAYLOAD)).encode()
    async with Claims([gate.uri], 7000, max_bytes_in_flight=7000) as claims:
        first = asyncio.ensure_future(claims.fetch(value))
        await asyncio.to_thread(gate.opened.wait, 20)
        with pytest.raises(DeadlineExceeded):
            await claims.fetch(value, deadline=time.monotonic() + 0.05)
        second = asyncio.ensure_future(claims.fetch(value))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        # The thread of the first still has its bytes, so nobody else gets to the store.
        with pytest.raises(DeadlineExceeded):
            await claims.fetch(value, deadline=time.monotonic() + 0.05)
        assert gate.asked == 1
        gate.release()
        async with asyncio.timeout(20):
            assert await second == PAYLOAD
        async with asyncio.timeout(20):
            assert await claims.fetch(value) == PAYLOAD


async def test_many_at_once_are_all_answered(store: Path) -> None:
    """More than there are turns and bytes, good and bad mixed, each with its own result."""
    async with Claims([str(store)], 7000, max_at_once=2) as claims, asyncio.timeout(30):
        asked = [claim(f"{store}/{'payload' if n % 2 else 'nothing'}") for n in range(200)]
        results = await asyncio.gather(*map(claims.fetch, asked), return_exceptions=True)
    assert [r == PAYLOAD for r in results] == [bool(n % 2) for n in range(200)]
    assert all(isinstance(r, RequestError) for r in results[::2])
