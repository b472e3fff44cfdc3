"""The artefact manifest: its canonical form, its strictness, and the listing of folders."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.schemas import manifest as manifest_module
from headrace.schemas.errors import TooLarge, Undecodable, WireError
from headrace.schemas.manifest import FileEntry, Manifest, check_path, scan

SHA: Final = "0123456789abcdef" * 4
PART: Final = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1, max_size=8
).filter(lambda part: part not in (".", ".."))
PATH: Final = st.lists(PART, min_size=1, max_size=3).map("/".join)
# Folder names end in a mark that file names lack, so that no file is another's folder.
FILES: Final = st.dictionaries(
    PATH.map(lambda path: path.replace("/", "=/") + "."),
    st.builds(
        FileEntry, st.integers(0, 2**40), st.text("0123456789abcdef", min_size=64, max_size=64)
    ),
    min_size=1,
    max_size=6,
)


def _json(files: Any, **more: object) -> bytes:  # noqa: ANN401 - that is the test
    value = {"files": files, "format": "headrace.manifest/1", **more}
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


@settings(deadline=None, max_examples=200)
@given(FILES)
def test_comes_back_from_its_json(files: dict[str, FileEntry]) -> None:
    """A manifest, its JSON and its digest determine each other."""
    manifest = Manifest(files)
    data = manifest.to_json()
    again = Manifest.from_json(data)
    assert again == manifest
    assert again.to_json() == data
    assert manifest.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert manifest.size_bytes == sum(entry.size for entry in files.values())


@settings(deadline=None, max_examples=100)
@given(FILES, st.randoms())
def test_digest_ignores_the_order_of_files(files: dict[str, FileEntry], chance: Any) -> None:  # noqa: ANN401
    """The same files have the same digest, in whatever order they were found."""
    shuffled = list(files.items())
    chance.shuffle(shuffled)
    assert Manifest(dict(shuffled)).digest == Manifest(files).digest


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200), FILES, st.data())
def test_garbage_raises_nothing_but_wire_errors(
    garbage: bytes, files: dict[str, FileEntry], data: st.DataObject
) -> None:
    """Random and damaged bytes are refused, or are the canonical form of what they say."""
    damaged = bytearray(Manifest(files).to_json())
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    for each in (garbage, bytes(damaged)):
        try:
            manifest = Manifest.from_json(each)
        except WireError:
            continue
        assert manifest.to_json() == each


def test_canonical_form_is_what_it_is() -> None:
    """The bytes that published digests were made from never change."""
    manifest = Manifest({"ü/b": FileEntry(2, SHA), "a": FileEntry(0, SHA)})
    data = (
        f'{{"files":{{"a":{{"sha256":"{SHA}","size":0}},"ü/b":{{"sha256":"{SHA}","size":2}}}},'
        '"format":"headrace.manifest/1"}'
    )
    assert manifest.to_json() == data.encode()
    digest = "sha256:c6583e647a1980c39285dc2c6903363a7454d97c88a786649c6987a0eac12dd0"
    assert manifest.digest == digest


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/etc/passwd", "..", "../a", "a/..", "a/../b", ".", "./a", "a/.", "a//b", "a/"),
        *("a\\b", "..\\a", "C:\\a", "a\x00b", "a\nb", "\x7f", "\udc80", "x" * 1025),
    ],
)
def test_refuses_paths_that_could_leave_the_folder(path: str) -> None:
    """Absolute, climbing, empty and unprintable paths are refused, alone and in a manifest."""
    with pytest.raises(ValueError, match=r"path|manifest"):
        check_path(path)
    with pytest.raises(ValueError, match=r"path|manifest"):
        Manifest({path: FileEntry(1, SHA)})
    with pytest.raises(Undecodable):
        Manifest.from_json(_json({path: {"sha256": SHA, "size": 1}}))


@pytest.mark.parametrize("path", ["a", "a/b", "...", "a..b", ".hidden", "variables/v.data-0-of-1"])
def test_allows_ordinary_paths(path: str) -> None:
    """Dots within names are no climbing."""
    check_path(path)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "not an artefact manifest"),
        (b"[]", "not an object"),
        (b"{}", "other members"),
        (b"[" * 100_000, "not an artefact manifest"),
        (b"\xff\xfe", "not an artefact manifest"),
        (b"9" * 5000, "not an artefact manifest"),
        (_json([]), "list of files is not an object"),
        (_json({}), "no files"),
        (_json({"a": 1}), "file 'a' is not an object"),
        (_json({"a": {"size": 1}}), "other members"),
        (_json({"a": {"size": 1, "sha256": SHA, "mode": 1}}), "other members"),
        (_json({"a": {"size": -1, "sha256": SHA}}), "size -1"),
        (_json({"a": {"size": True, "sha256": SHA}}), "size True"),
        (_json({"a": {"size": 1.0, "sha256": SHA}}), "size 1.0"),
        (_json({"a": {"size": 2**63, "sha256": SHA}}), "size 9223372036854775808"),
        (_json({"a": {"size": float("nan"), "sha256": SHA}}), "size nan"),
        (_json({"a": {"size": 1, "sha256": SHA.upper()}}), "64 hex digits"),
        (_json({"a": {"size": 1, "sha256": SHA[1:]}}), "64 hex digits"),
        (_json({"a": {"size": 1, "sha256": SHA + "\n"}}), "64 hex digits"),
        (_json({"a": {"size": 1, "sha256": None}}), "64 hex digits"),
        (_json({p: {"size": 1, "sha256": SHA} for p in ("a", "a/b")}), "both a file and the fold"),
        (_json({p: {"size": 2**62, "sha256": SHA} for p in "abc"}), "at most 92233720"),
        (_json({"a": {"size": 1, "sha256": SHA}}, extra=1), "other members"),
        (_json({"a": {"size": 1, "sha256": SHA}}, format="other/1"), "its format is 'other/1'"),
        (_json({"a": {"size": 1, "sha256": SHA}}) + b"\n", "canonical"),
        (
            _json({"a": {"size": 1, "sha256": SHA}}).replace(
                b'{"a"', b'{"a":{"sha256":"","size":2},"a"'
            ),
            "canonical",
        ),
    ],
)
def test_refuses_json_that_is_no_manifest(data: bytes, text: str) -> None:
    """The text says what is wrong; forgiving parsers' favours are not accepted."""
    with pytest.raises(Undecodable, match=text):
        Manifest.from_json(data)


def test_refuses_manifests_that_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes and files are counted before they are worked on."""
    data = _json({f"f{number}": {"sha256": SHA, "size": 1} for number in range(3)})
    monkeypatch.setattr(manifest_module, "MAX_FILES", 2)
    with pytest.raises(Undecodable, match="3 files; at most 2"):
        Manifest.from_json(data)
    monkeypatch.setattr(manifest_module, "MAX_MANIFEST_BYTES", len(data) - 1)
    with pytest.raises(TooLarge, match=f"manifest of {len(data)} bytes"):
        Manifest.from_json(data)


def test_lists_a_folder(tmp_path: Path) -> None:
    """Every file is listed with its size and hash; empty folders are not."""
    contents = {"saved_model.pb": b"graph", "variables/v.index": b"", ".hidden": b"x" * 3_000_000}
    (tmp_path / "assets").mkdir()
    (tmp_path / "variables").mkdir()
    for path, content in contents.items():
        (tmp_path / path).write_bytes(content)
    progress: list[int] = []
    manifest = scan(tmp_path, progress.append)
    assert manifest.files == {
        path: FileEntry(len(content), hashlib.sha256(content).hexdigest())
        for path, content in contents.items()
    }
    assert list(manifest.files) == sorted(contents)
    assert sum(progress) == manifest.size_bytes == 3_000_005
    assert scan(tmp_path) == manifest
    link = tmp_path.with_name("link")
    link.symlink_to(tmp_path)
    assert scan(link).digest == manifest.digest


def test_refuses_links_and_devices(tmp_path: Path) -> None:
    """What is not a plain file has no bytes of its own to publish."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "file").write_bytes(b"1")
    for target in ("file", ".", "/etc", "nowhere"):
        (folder / "link").symlink_to(target)
        with pytest.raises(ValueError, match=r"'link' in .* is a symbolic link"):
            scan(folder)
        (folder / "link").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(ValueError, match=r"'pipe' in .* is a device, pipe or socket"):
        scan(folder)


def test_refuses_folders_that_are_no_artefact(tmp_path: Path) -> None:
    """Empty and missing folders, files, and names that cannot travel are told apart."""
    with pytest.raises(ValueError, match="has no files"):
        scan(tmp_path)
    with pytest.raises(FileNotFoundError):
        scan(tmp_path / "missing")
    (tmp_path / "bad\nname").write_bytes(b"")
    with pytest.raises(ValueError, match="control character"):
        scan(tmp_path)
    with pytest.raises(NotADirectoryError):
        scan(tmp_path / "bad\nname")
    (tmp_path / "bad\nname").unlink()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).write_bytes(b"")
    with pytest.raises(ValueError, match="not UTF-8"):
        scan(tmp_path)


def test_does_not_follow_what_replaced_a_file_meanwhile(tmp_path: Path) -> None:
    """A link or pipe put in a listed file's place is neither followed nor waited for."""
    (tmp_path / "a").write_bytes(b"1")
    second = tmp_path / "b"

    def replace_by_link(_: int) -> None:
        second.unlink()
        second.symlink_to("a")

    def replace_by_pipe(_: int) -> None:
        second.unlink()
        os.mkfifo(second)

    second.write_bytes(b"2")
    with pytest.raises(OSError, match="symbolic links"):
        scan(tmp_path, replace_by_link)
    second.unlink()
    second.write_bytes(b"2")
    with pytest.raises(ValueError, match="not a regular file"):
        scan(tmp_path, replace_by_pipe)


def test_notices_a_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    """A model that is still being written is not published."""
    file = tmp_path / "file"
    file.write_bytes(b"begun")

    def append(_: int) -> None:
        with file.open("ab") as stream:
            stream.write(b"more" if file.stat().st_size < 20 else b"")

    with pytest.raises(ValueError, match="changed while it was read"):
        scan(tmp_path, append)
