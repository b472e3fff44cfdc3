"""Which folders below a base path are versions, and how one comes to this machine."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest

from headrace.consumer.control.version_folders import VersionFolders
from headrace.consumer.core.errors import InvalidRequest
from headrace.publisher.filesystems import url_to_fs


def write(uri: str, content: bytes = b"x") -> None:
    """Write a file to a store."""
    files, path = url_to_fs(uri)
    files.makedirs(path.rpartition("/")[0], exist_ok=True)
    with files.open(path, "wb") as writer:
        writer.write(content)


@pytest.mark.parametrize("prefix", ["", "file://", "local://", "memory://"])
def test_folders_with_numbers_are_versions(prefix: str, tmp_path: Path) -> None:
    """Files, other names and numbers beyond 64 bits are passed over; leading zeros are fine."""
    base = f"{prefix}{tmp_path}/m"
    for name in ("1/a", "002/a", "v3/a", "-4/a", "5", f"{2**63}/a", "1.5/a"):
        write(f"{base}/{name}")
    assert VersionFolders("m", base).names() == {1: "1", 2: "002"}


def test_linked_folder_is_a_version(tmp_path: Path) -> None:
    """As mounted volumes have them; what is published is the folder itself."""
    (tmp_path / "real").mkdir()
    (tmp_path / "m").mkdir()
    (tmp_path / "m/7").symlink_to(tmp_path / "real")
    folders = VersionFolders("m", str(tmp_path / "m"))
    assert folders.names() == {7: "7"}
    assert folders.bring("7", tmp_path, Event()) == tmp_path / "real"


def test_version_is_copied_out_of_a_store(tmp_path: Path) -> None:
    """All its files, and no more once nobody waits for them."""
    base = f"memory://{tmp_path}/m"
    write(f"{base}/1/saved_model.pb", b"graph")
    write(f"{base}/1/variables/index", b"index")
    write(f"{base}/10/saved_model.pb", b"another")
    folders = VersionFolders("m", base)
    (tmp_path / "kept").mkdir()
    assert folders.bring("1", tmp_path / "kept", Event()) == tmp_path / "kept"
    assert (tmp_path / "kept/saved_model.pb").read_bytes() == b"graph"
    assert (tmp_path / "kept/variables/index").read_bytes() == b"index"
    gone = Event()
    gone.set()
    (tmp_path / "left").mkdir()
    folders.bring("1", tmp_path / "left", gone)
    assert list((tmp_path / "left").rglob("*")) == []


@pytest.mark.parametrize(
    "base",
    [
        "",
        "models/m",
        "./m",
        "file://models/m",
        "nosuch://a/b",
        "simplecache::file:///m",
        "memory://a::file:///m",
        "~/m",
    ],
)
def test_base_path_must_be_absolute(base: str) -> None:
    """Relative to what, nobody could say; and not every URI that fsspec knows is a store."""
    with pytest.raises(InvalidRequest, match="to have an absolute path or URI"):
        VersionFolders("m", base)


def test_base_path_that_cannot_be_listed_is_refused(tmp_path: Path) -> None:
    """A file is none, nor is what does not exist, here or in a store."""
    (tmp_path / "file").touch()
    with pytest.raises(InvalidRequest, match="cannot read base path"):
        VersionFolders("m", str(tmp_path / "file")).names()
    for base in (f"{tmp_path}/none", f"memory://{tmp_path}/none"):
        with pytest.raises(InvalidRequest, match="Could not find base path"):
            VersionFolders("m", base).names()
