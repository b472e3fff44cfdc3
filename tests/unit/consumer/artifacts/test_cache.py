"""The artefact cache: verified, shared, pruned, and clean after every failure."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]

from headrace.consumer.artifacts import folders
from headrace.consumer.artifacts.cache import ArtifactCache
from headrace.consumer.artifacts.download import Store
from headrace.consumer.core.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    LoadError,
    ModelRejected,
)
from headrace.schemas.manifest import Manifest, scan


class Published:
    """A folder published into a local store."""

    def __init__(self, root: Path, content: bytes = b"weights") -> None:
        source = root / f"source-{content[:8].hex()}"
        (source / "variables").mkdir(parents=True)
        (source / "saved_model.pb").write_bytes(b"graph of " + content)
        (source / "variables" / "data").write_bytes(content)
        manifest = scan(source)
        self.digest = manifest.digest
        self.folder = root / "store" / manifest.digest.replace(":", "-")
        shutil.copytree(source, self.folder / "files")
        (self.folder / "manifest.json").write_bytes(manifest.to_json())
        self.uri = self.folder.as_uri()


@pytest.fixture
def published(tmp_path: Path) -> Published:
    """An artefact in a store."""
    return Published(tmp_path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the cache goes; it does not exist yet."""
    return tmp_path / "cache" / "artifacts"


@pytest.fixture
def cache(root: Path) -> ArtifactCache:
    """A roomy cache."""
    return ArtifactCache(root, max_bytes=2**20)


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The digests that were copied from a store, as they are."""
    copied: list[str] = []
    copy = Store.copy

    def counted(self: Store, manifest: Manifest, folder: Path, gone: threading.Event) -> None:
        copied.append(manifest.digest)
        copy(self, manifest, folder, gone)

    monkeypatch.setattr(Store, "copy", counted)
    return copied


def visible(root: Path) -> list[str]:
    """Return what is in the cache beside its lock."""
    return sorted(path.name for path in root.iterdir() if path.name != ".lock")


async def test_fetches_once_and_finds_later(
    cache: ArtifactCache, published: Published, downloads: list[str]
) -> None:
    """The first fetch copies and verifies, the second finds; both give the files."""
    first = await cache.fetch(published.uri, published.digest)
    second = await cache.fetch(published.uri, published.digest)
    assert first == second
    assert scan(first).digest == published.digest
    assert downloads == [published.digest]


async def test_finds_what_an_earlier_process_fetched(
    root: Path, published: Published, downloads: list[str]
) -> None:
    """A cache outlives its node, and needs no store to serve from."""
    await ArtifactCache(root, 2**20).fetch(published.uri, published.digest)
    shutil.rmtree(published.folder)
    path = await ArtifactCache(root, 2**20).fetch(published.uri, published.digest)
    assert scan(path).digest == published.digest
    assert len(downloads) == 1


async def test_concurrent_fetches_share_one_download(
    cache: ArtifactCache, published: Published, downloads: list[str]
) -> None:
    """Many loads of one artefact copy it once."""
    paths = await asyncio.gather(*[cache.fetch(published.uri, published.digest) for _ in range(10)])
    assert len(set(paths)) == 1
    assert len(downloads) == 1


async def test_takes_plain_paths_and_other_file_systems(
    cache: ArtifactCache, published: Published
) -> None:
    """An absolute path is a URI, and so is whatever fsspec knows."""
    path = await cache.fetch(str(published.folder), published.digest)
    assert scan(path).digest == published.digest
    cache.release(published.digest)
    shutil.rmtree(path.parent)
    memory: Any = MemoryFileSystem()
    memory.put(str(published.folder), "/bucket/it", recursive=True)
    path = await cache.fetch("memory://bucket/it", published.digest)
    assert scan(path).digest == published.digest
    memory.rm("/bucket", recursive=True)


@pytest.mark.parametrize("damage", ["changed", "extra", "lost", "manifest", "link"])
async def test_a_corrupt_entry_is_fetched_anew(
    root: Path, published: Published, downloads: list[str], damage: str
) -> None:
    """What lies in the cache is hashed before every load, and thrown away when it is not right."""
    path = await ArtifactCache(root, 2**20).fetch(published.uri, published.digest)
    match damage:
        case "changed":
            (path / "saved_model.pb").write_bytes(b"graph of WEIGHTS")
        case "extra":
            (path / "plugin.so").write_bytes(b"")
        case "lost":
            (path / "variables" / "data").unlink()
        case "manifest":
            (path.parent / "manifest.json").write_bytes(b"{}")
        case _:
            (path / "saved_model.pb").unlink()
            (path / "saved_model.pb").symlink_to("/etc/hostname")
    path = await ArtifactCache(root, 2**20).fetch(published.uri, published.digest)
    assert scan(path).digest == published.digest
    assert len(downloads) == 2
    assert visible(root) == [published.folder.name]


async def test_left_overs_of_a_killed_node_are_removed(
    root: Path, cache: ArtifactCache, published: Published
) -> None:
    """A half-written copy is not taken for a whole one, and goes away."""
    (root / ".incoming-0123" / "files").mkdir(parents=True)
    (root / ".discarded-4567").mkdir()
    (root / published.folder.name / "files").mkdir(parents=True)
    path = await cache.fetch(published.uri, published.digest)
    assert scan(path).digest == published.digest
    assert visible(root) == [published.folder.name]


async def test_missing_artefacts_may_come_later(cache: ArtifactCache, published: Published) -> None:
    """What is not there is told by name, and worth another try."""
    with pytest.raises(ArtifactMissing, match=r"there is no manifest\.json at file:///nowhere/x"):
        await cache.fetch("file:///nowhere/x", published.digest)
    (published.folder / "files" / "saved_model.pb").unlink()
    with pytest.raises(ArtifactMissing, match=r"there is no saved_model\.pb at ") as missing:
        await cache.fetch(published.uri, published.digest)
    assert missing.value.retriable


@pytest.mark.parametrize("content", [b"graph of WEIGHTS", b"short", b"graph of weights and more"])
async def test_other_bytes_than_published_are_refused(
    root: Path, cache: ArtifactCache, published: Published, content: bytes
) -> None:
    """A file of the right name with other bytes is corrupt, and nothing of it stays."""
    (published.folder / "files" / "saved_model.pb").write_bytes(content)
    with pytest.raises(ArtifactCorrupt, match=r"'saved_model\.pb' of .* is not the file that was"):
        await cache.fetch(published.uri, published.digest)
    assert visible(root) == []


async def test_another_artefact_at_the_uri_is_refused(
    cache: ArtifactCache, published: Published, tmp_path: Path
) -> None:
    """The digest of the event decides what may be loaded, not the URI."""
    other = Published(tmp_path, b"others")
    with pytest.raises(ArtifactCorrupt, match=f"has digest {other.digest}; the event says"):
        await cache.fetch(other.uri, published.digest)
    (published.folder / "manifest.json").write_bytes(b"not json")
    with pytest.raises(ArtifactCorrupt, match="not an artefact manifest"):
        await cache.fetch(published.uri, published.digest)


@pytest.mark.parametrize("digest", ["", "md5:1", "sha256:xyz", "sha256:" + "A" * 64])
async def test_strange_digests_are_refused(cache: ArtifactCache, digest: str) -> None:
    """A digest is sha256 and 64 hex digits: it becomes a folder's name."""
    with pytest.raises(ArtifactCorrupt, match="expected sha256: and 64 hex digits"):
        await cache.fetch("file:///x", digest)


@pytest.mark.parametrize(
    "uri",
    [
        "relative/path",
        "",
        "simplecache::s3://b/k",
        "python://x",
        "nosuch://x",
        "zip://a::file:///x",
    ],
)
async def test_strange_uris_are_refused(
    cache: ArtifactCache, published: Published, uri: str
) -> None:
    """A node follows absolute paths and known stores, and nothing that unpacks or runs."""
    with pytest.raises(ModelRejected, match="is not one that a node follows: expected"):
        await cache.fetch(uri, published.digest)


async def test_stores_that_are_not_installed_are_named(
    cache: ArtifactCache, published: Published
) -> None:
    """A store whose file system is not installed is refused in words."""
    with pytest.raises(ModelRejected, match=r"cannot be used on this node: .*nstall"):
        await cache.fetch("abfs://bucket/key", published.digest)


async def test_a_cache_that_cannot_be_written(
    root: Path, cache: ArtifactCache, published: Published
) -> None:
    """A file in the way of the folder is told in words."""
    root.parent.parent.mkdir(parents=True, exist_ok=True)
    root.parent.write_bytes(b"")
    with pytest.raises(LoadError, match=r"cannot write the artefact cache .*: Not a directory: "):
        await cache.fetch(published.uri, published.digest)


async def test_a_full_disk_leaves_nothing_behind(
    root: Path, cache: ArtifactCache, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk fills up, the half-made copy is removed and the reason told."""

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LoadError, match="No space left on device"):
        await cache.fetch(published.uri, published.digest)
    monkeypatch.undo()
    assert visible(root) == []
    await cache.fetch(published.uri, published.digest)


async def test_prunes_what_was_used_longest_ago(root: Path, tmp_path: Path) -> None:
    """Past its bound the cache gives up old artefacts, and never one in use."""
    first, second, third = (Published(tmp_path, bytes([n]) * 400) for n in (1, 2, 3))
    cache = ArtifactCache(root, max_bytes=2500)
    for each in (first, second):
        await cache.fetch(each.uri, each.digest)
    cache.release(second.digest)
    os.utime(root / first.folder.name, (1, 1))
    await cache.fetch(third.uri, third.digest)
    assert visible(root) == sorted([first.folder.name, third.folder.name])


async def test_another_node_does_not_prune_what_is_in_use_here(root: Path, tmp_path: Path) -> None:
    """Locks hold between nodes that share a folder."""
    first, second = (Published(tmp_path, bytes([n]) * 400) for n in (1, 2))
    ours, theirs = ArtifactCache(root, max_bytes=1), ArtifactCache(root, max_bytes=1)
    path = await ours.fetch(first.uri, first.digest)
    await theirs.fetch(second.uri, second.digest)
    assert scan(path).digest == first.digest
    ours.release(first.digest)
    theirs.release(second.digest)
    await theirs.fetch(second.uri, second.digest)
    third = Published(tmp_path, b"3" * 400)
    await theirs.fetch(third.uri, third.digest)
    assert visible(root) == sorted([second.folder.name, third.folder.name])


async def test_a_cancelled_fetch_leaves_nothing(
    root: Path, cache: ArtifactCache, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a cancelled fetch returns, its copy is gone, and the next fetch works."""
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    flush = os.fsync

    def slow(descriptor: int) -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(10)
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    fetching = asyncio.create_task(cache.fetch(published.uri, published.digest))
    async with asyncio.timeout(10):
        await begun.wait()
    fetching.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert visible(root) == []
    monkeypatch.undo()
    path = await cache.fetch(published.uri, published.digest)
    assert scan(path).digest == published.digest


async def test_a_rename_that_another_node_won_is_no_failure(
    root: Path, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes that fetch the same artefact at once both get it."""
    other = ArtifactCache(root, 2**20)
    make_room = folders.CacheFolders.make_room

    def overtaken(self: folders.CacheFolders, size_bytes: int) -> None:
        monkeypatch.undo()
        make_room(self, size_bytes)
        asyncio.run(other.fetch(published.uri, published.digest))

    monkeypatch.setattr(folders.CacheFolders, "make_room", overtaken)
    path = await ArtifactCache(root, 2**20).fetch(published.uri, published.digest)
    assert scan(path).digest == published.digest
    assert visible(root) == [published.folder.name]


async def test_an_entry_that_others_can_change_is_fetched_anew(
    root: Path, published: Published, downloads: list[str]
) -> None:
    """What is verified must still be so when it is loaded."""
    path = await ArtifactCache(root, 2**20).fetch(published.uri, published.digest)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.parent.chmod(0o770)
    path = await ArtifactCache(root, 2**20).fetch(published.uri, published.digest)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert len(downloads) == 2


async def test_the_size_that_the_event_tells_must_be_right(
    root: Path, cache: ArtifactCache, published: Published
) -> None:
    """Whether the artefact is in the cache or not, so that all nodes judge alike."""
    size = scan(published.folder / "files").size_bytes
    for _ in range(2):
        with pytest.raises(ArtifactCorrupt, match=rf"has {size} bytes by its manifest, and 7 by"):
            await cache.fetch(published.uri, published.digest, 7)
        await cache.fetch(published.uri, published.digest, size)
        cache.release(published.digest)


async def test_an_artefact_above_the_bound_is_refused(root: Path, published: Published) -> None:
    """By the event's word before anything is asked, by the manifest before anything is copied."""
    size = scan(published.folder / "files").size_bytes
    cache = ArtifactCache(root, 2**20, max_artifact_bytes=size - 1)
    words = rf"has {size} bytes, and this node takes at most {size - 1}: raise --max-artifact-bytes"
    with pytest.raises(ModelRejected, match=words):
        await cache.fetch("file:///nowhere", published.digest, size)
    with pytest.raises(ModelRejected, match=words):
        await cache.fetch(published.uri, published.digest)
    assert list(os.walk(root)) == []


@pytest.mark.parametrize("path", ["files/saved_model.pb", "files/variables", "manifest.json"])
@pytest.mark.parametrize("kind", ["link", "pipe", "socket"])
async def test_a_store_with_other_things_than_files_is_refused(
    cache: ArtifactCache, published: Published, path: str, kind: str
) -> None:
    """A link may lead anywhere, a pipe is waited for without end."""
    place = published.folder / path
    hidden = published.folder / "hidden"
    place.rename(hidden)
    if kind == "link":
        place.symlink_to(hidden)
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        os.mknod(place, stat.S_IFSOCK | 0o600)
    with pytest.raises(ArtifactCorrupt, match="is a link, a device or a pipe, or leads through"):
        await asyncio.wait_for(cache.fetch(published.uri, published.digest), 10)
