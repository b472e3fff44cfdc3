"""Artefacts that are not what was published: the version fails, and what served goes on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.publisher import KafkaConnection
from headrace.publisher.artifact import examine
from headrace.publisher.control_log import ControlLog
from headrace.schemas.manifest import Manifest, scan
from headrace.schemas.records import ModelVersion, version_key
from tests.e2e.rig import NodeProcess, Site, deployment, grpc_client
from tests.models import model

X = {"x": [[1.0], [2.0], [5.0]]}
Y = [2.5, 3.0, 4.5]
Tamper = Callable[[Path], object]

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def site(bootstrap_servers: str, unique_name: str, tmp_path: Path) -> Site:
    """A deployment of this test's own on the shared broker."""
    return Site(KafkaConnection(bootstrap_servers), unique_name, tmp_path)


class Attacker:
    """Has the artefact store to itself after an artefact is put there, before its event is."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._log = ControlLog(site.connection, site.topics, create_topics=False)
        self._version = 1

    async def publish(self, tamper: Tamper, **changes: object) -> int:
        """Publish a version whose artefact is tampered with, and return its number."""
        self._version += 1
        source = self._site.folder / "models" / str(self._version)
        shutil.copytree(model("half_plus_two"), source)
        # Other bytes each time: the cache knows artefacts by their digest.
        (source / "note.txt").write_text(f"version {self._version}")
        artifact = await examine(source)
        uri = artifact.put(str(self._site.folder / "store"), lambda _done, _total: None)
        stored = Path(uri.removeprefix("file://"))
        tamper(stored)
        fields: dict[str, object] = {
            "model": "m",
            "version": self._version,
            "uri": uri,
            "digest": artifact.manifest.digest,
            "size_bytes": artifact.manifest.size_bytes,
        } | {name: value(stored) if callable(value) else value for name, value in changes.items()}
        record = ModelVersion(**fields)  # type: ignore[arg-type]
        await self._log.append(version_key("m", self._version), record, 20)
        return self._version


def flip(file: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def relink(file: Path) -> None:
    """Put a link to the same bytes in the place of a file or a folder."""
    hidden = file.parent.parent / f"hidden-{file.name}"
    file.rename(hidden)
    file.symlink_to(hidden)


def replaced_by_pipe(file: Path) -> None:
    """Put a pipe in the place of a file: who reads it waits for ever."""
    file.unlink()
    os.mkfifo(file)


def listing(path: str) -> Tamper:
    """Let the manifest list the graph under another path."""

    def tamper(stored: Path) -> None:
        manifest = json.loads((stored / "manifest.json").read_bytes())
        manifest["files"][path] = manifest["files"].pop("saved_model.pb")
        text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
        (stored / "manifest.json").write_text(text)

    return tamper


def digest_of_manifest(stored: Path) -> str:
    """Return the digest of the manifest as it is now: what an accomplice would sign."""
    return f"sha256:{hashlib.sha256((stored / 'manifest.json').read_bytes()).hexdigest()}"


FILES = sorted(
    path.relative_to(model("half_plus_two")).as_posix()
    for path in model("half_plus_two").rglob("*")
    if path.is_file() and path.stat().st_size
)


def cases() -> Iterator[tuple[str, Tamper, dict[str, object], str]]:
    """Return what is done to an artefact, and how the version's failure is told."""
    for name in [*FILES, "note.txt"]:
        yield (
            f"flip {name}",
            lambda stored, name=name: flip(stored / "files" / name),  # type: ignore[misc]
            {},
            f"{name!r} of .* is not the file that was published",
        )
    graph = "saved_model.pb"
    plain = r"is a link, a device or a pipe"
    told: dict[str, object] = {"digest": digest_of_manifest}
    yield "manifest", lambda s: flip(s / "manifest.json"), {}, "not an artefact manifest|digest"
    yield "link", lambda s: relink(s / "files" / graph), {}, f"'files/{graph}' .* {plain}"
    yield "link to a folder", lambda s: relink(s / "files" / "variables"), {}, plain
    yield "link for a manifest", lambda s: relink(s / "manifest.json"), {}, plain
    yield "pipe", lambda s: replaced_by_pipe(s / "files" / graph), {}, plain
    yield "parent", listing("../saved_model.pb"), told, r"has an empty part, '\.' or '\.\.'"
    yield "absolute", listing("/saved_model.pb"), told, "is absolute"
    yield "other size", lambda s: s, {"size_bytes": 7}, "bytes by its manifest, and 7 by the event"
    yield "too large", lambda s: s, {"size_bytes": 2**50}, "this node takes at most"
    yield "other scheme", lambda s: s, {"uri": "zip://x::file:///y"}, "is not one that a node"
    yield "relative", lambda s: s, {"uri": "store/x"}, "is not one that a node follows"
    yield "other digest", lambda s: s, {"digest": "sha256:" + "0" * 64}, "the event says"
    yield "lost file", lambda s: (s / "files" / graph).unlink(), {}, f"there is no {graph}"


async def ended(node: NodeProcess, version: int) -> str:
    """Return why a version failed."""
    return str((await node.event("version.ended", version=version))["error"])


async def test_tampered_artefact_fails_in_words_and_the_old_version_serves_on(site: Site) -> None:
    """Each file with a bit flipped, links, pipes, paths that lead out, sizes, schemes."""
    async with deployment(site) as (node, publisher), grpc_client(node) as client:
        await publisher.publish("m", 1, model("half_plus_two"), wait="fleet")
        attacker = Attacker(site)
        for what, tamper, changes, words in cases():
            version = await attacker.publish(tamper, **changes)
            assert re.search(words, why := await ended(node, version)), (what, why)
            assert await client.predict("m", X) == ({"y": Y}, 1), what
        assert await node.stop() == 0
    assert len(list((site.folder / "cache").glob("sha256-*"))) == 1
    assert not list((site.folder / "cache").glob(".incoming-*"))


async def test_extra_files_of_a_store_reach_no_model(site: Site) -> None:
    """What the manifest does not list is not copied, so that no worker can load it."""
    async with deployment(site) as (node, _publisher), grpc_client(node) as client:

        def add(stored: Path) -> None:
            (stored / "files" / "evil.py").write_text("raise SystemExit")
            (stored / "files" / "variables" / "evil").symlink_to("/etc/passwd")

        version = await Attacker(site).publish(add)
        await node.event("version.available", version=version)
        assert await client.predict("m", X) == ({"y": Y}, version)
        (cached,) = (site.folder / "cache").glob("sha256-*")
        manifest = Manifest.from_json((cached / "manifest.json").read_bytes())
        assert scan(cached / "files") == manifest
        assert "evil.py" not in manifest.files
