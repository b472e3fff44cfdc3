"""The artefact store, on a local folder and on a file system that is none."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace.publisher.errors import InvalidModel, StoreError
from headrace.publisher.filesystems import url_to_fs
from headrace.publisher.store import ArtifactStore
from headrace.schemas.manifest import Manifest, scan
from tests.fakes.saved_models import write_saved_model


@pytest.fixture(params=["local", "memory"])
def store_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store of each kind; the local one has a space in its name."""
    if request.param == "local":
        return str(tmp_path / "a store")
    return f"memory://{uuid.uuid4().hex}/store"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_saved_model(tmp_path / "model", shards=2)


def ignore(done: int, total: int) -> None:
    """Take a report."""


def stored_files(uri: str) -> dict[str, bytes]:
    """Return what lies below a URI, by relative path."""
    filesystem, root = url_to_fs(uri)
    return {
        path.removeprefix(f"{root}/"): filesystem.cat_file(path)
        for path in filesystem.find(root, detail=True)
    }


def test_keeps_the_files_and_their_manifest(store_uri: str, model: Path) -> None:
    """What a node fetches is what was published."""
    listed = scan(model)
    uri = ArtifactStore(store_uri).put(model, listed, ignore)
    files = stored_files(uri)
    assert Manifest.from_json(files.pop("manifest.json")) == listed
    assert files == {f"files/{path}": (model / path).read_bytes() for path in listed.files}
    assert uri.endswith(f"/{listed.digest.replace(':', '-')}")


def test_puts_the_same_artefact_once(store_uri: str, model: Path) -> None:
    """Publishing again copies nothing: the second time, the source is not even read."""
    store, listed = ArtifactStore(store_uri), scan(model)
    first = store.put(model, listed, ignore)
    for path in listed.files:
        (model / path).unlink()
    ticks: list[tuple[int, int]] = []
    assert store.put(model, listed, lambda done, total: ticks.append((done, total))) == first
    assert ticks == [(listed.size_bytes, listed.size_bytes)]


@pytest.mark.parametrize("lost", ["manifest.json", "files/saved_model.pb"])
def test_completes_what_is_incomplete(store_uri: str, model: Path, lost: str) -> None:
    """A folder without its manifest, or with a file lost, is written again."""
    store, listed = ArtifactStore(store_uri), scan(model)
    uri = store.put(model, listed, ignore)
    whole = stored_files(uri)
    filesystem, root = url_to_fs(uri)
    filesystem.rm_file(f"{root}/{lost}")
    assert store.put(model, listed, ignore) == uri
    assert stored_files(uri) == whole


def test_publishers_of_the_same_bytes_at_once_all_succeed(tmp_path: Path, model: Path) -> None:
    """None moves away what another has completed, over what an interrupted one left behind."""
    listed = scan(model)

    def put(store: ArtifactStore) -> str:
        return store.put(model, listed, ignore)

    for attempt in range(20):
        root = tmp_path / str(attempt)
        left_behind = root / listed.digest.replace(":", "-") / "files"
        left_behind.mkdir(parents=True)
        (left_behind / "saved_model.pb").write_bytes(b"half")
        stores = [ArtifactStore(str(root)) for _ in range(8)]
        with ThreadPoolExecutor(len(stores)) as threads:
            uris = set(threads.map(put, stores))
        (uri,) = uris
        assert Manifest.from_json(stored_files(uri)["manifest.json"]) == listed
        assert [path.name for path in root.iterdir()] == [left_behind.parent.name]


def test_reports_bytes_up_to_the_total(store_uri: str, model: Path) -> None:
    """Progress goes from nothing to everything and never back."""
    listed = scan(model)
    ticks: list[tuple[int, int]] = []
    ArtifactStore(store_uri).put(model, listed, lambda done, total: ticks.append((done, total)))
    done = [tick[0] for tick in ticks]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, listed.size_bytes)
    assert {tick[1] for tick in ticks} == {listed.size_bytes}


def test_finds_out_when_the_model_changed(store_uri: str, model: Path) -> None:
    """Bytes that are not those of the digest never become an artefact."""
    listed = scan(model)
    (model / "saved_model.pb").write_bytes(b"retrained")
    with pytest.raises(InvalidModel, match=r"saved_model\.pb changed while it was published"):
        ArtifactStore(store_uri).put(model, listed, ignore)
    assert "manifest.json" not in stored_files(ArtifactStore(store_uri).locate(listed.digest))


def test_leaves_nothing_behind_when_it_fails(tmp_path: Path, model: Path) -> None:
    """Half an artefact is removed again."""
    listed = scan(model)
    (model / "saved_model.pb").unlink()
    with pytest.raises(InvalidModel, match="cannot read"):
        ArtifactStore(str(tmp_path / "store")).put(model, listed, ignore)
    assert list((tmp_path / "store").iterdir()) == []


def test_says_that_it_cannot_be_written(tmp_path: Path, model: Path) -> None:
    """A store that is a file cannot hold artefacts, whoever asks."""
    (tmp_path / "store").write_text("not a folder")
    with pytest.raises(StoreError, match=r"cannot write to the artefact store .*--store"):
        ArtifactStore(str(tmp_path / "store")).put(model, scan(model), ignore)


@pytest.mark.parametrize("uri", ["nonsense://bucket/x", "s3://bucket/x"])
def test_says_which_file_system_is_missing(uri: str) -> None:
    """An unknown scheme, and one whose package is not installed, are refused in words."""
    with pytest.raises(StoreError, match="cannot be used"):
        ArtifactStore(uri)
