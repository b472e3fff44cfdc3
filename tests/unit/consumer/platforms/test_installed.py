"""Platforms by name: ours, and those of other packages as their metadata declares them."""

from __future__ import annotations

import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.consumer.core.errors import ModelRejected
from headrace.consumer.platforms.installed import OWN, installed_platforms, platform_named

Install = Callable[[str, str], None]
ROOT = Path(__file__).parents[4]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """A function that installs a package: its entry points and its module `other_platform`."""

    def installed_as(declared: str, source: str) -> None:
        metadata = tmp_path / "other-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[headrace.platforms]\n{declared}\n")
        (tmp_path / "other_platform.py").write_text(textwrap.dedent(source))
        installed_platforms.cache_clear()

    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    installed_platforms.cache_clear()
    yield installed_as
    installed_platforms.cache_clear()
    sys.modules.pop("other_platform", None)


def test_a_package_adds_a_platform(install: Install) -> None:
    """By an entry point; it is preloaded when it is named, and not before."""
    install(
        "other = other_platform:PLATFORM",
        """
        class Other:
            is_ready = False
            def preload(self): Other.is_ready = True
            def load(self, path, options): raise RuntimeError("not today")
        PLATFORM = Other()
        """,
    )
    assert "other" in installed_platforms().platforms
    assert "other_platform" not in sys.modules
    platform_named("other")
    assert sys.modules["other_platform"].Other.is_ready


def test_names_that_are_ours_are_not_given_away(install: Install) -> None:
    """A package could else take over every model of the fleet."""
    install("tensorflow = other_platform:PLATFORM", "PLATFORM = None")
    found = installed_platforms()
    assert found.platforms["tensorflow"].value.startswith("headrace.")
    assert [entry.value for entry in found.refused] == ["other_platform:PLATFORM"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nothing_of_the_kind", r"cannot be imported: .*install other with what it needs"),
        ("1 / 0", r"failed to start: ZeroDivisionError"),
        ("", r"failed to start: AttributeError"),
    ],
)
def test_a_platform_that_cannot_start_is_refused(install: Install, source: str, words: str) -> None:
    """In words that name it."""
    install("other = other_platform:PLATFORM", source)
    with pytest.raises(ModelRejected, match=f"platform other.*{words}"):
        platform_named("other")


@pytest.mark.parametrize(("platform", "module"), [("onnx", "onnxruntime")])
def test_a_platform_of_ours_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, platform: str, module: str
) -> None:
    """What to install, as one types it."""
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "headrace.consumer.platforms.onnx_model", raising=False)
    with pytest.raises(ModelRejected, match=rf"cannot be imported: .*install headrace\[{platform}"):
        platform_named(platform)


def test_our_metadata_declares_what_the_source_knows() -> None:
    """A source tree and an installation have the same platforms."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = {name: value for name, (value, _extra) in OWN.items()}
    assert project["entry-points"]["headrace.platforms"] == known
    assert {extra for _value, extra in OWN.values()} <= set(project["optional-dependencies"])
