"""Platforms by name: our own, and those that installed packages bring as entry points.

A package declares its own in the group `headrace.platforms`: the name that versions are published
under, and the object that keeps the `Platform` contract. Nothing is imported until it is named.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final, NamedTuple, cast

from headrace.consumer.core.errors import ModelRejected
from headrace.consumer.platforms.guarded import GuardedPlatform
from headrace.consumer.platforms.platform import Platform

GROUP: Final = "headrace.platforms"
_PACKAGE: Final = "headrace.consumer.platforms"
OWN: Final = {
    "tensorflow": (f"{_PACKAGE}.saved_model:PLATFORM", "serving"),
    "onnx": (f"{_PACKAGE}.onnx_model:PLATFORM", "onnx"),
    "python": (f"{_PACKAGE}.python_class:PLATFORM", "serving"),
}
"""Our own platforms: where each is, and the extra that brings what it needs."""
# Their runtimes raise what the contract says and give what the signature says.
_TRUSTED: Final = frozenset({"tensorflow", "onnx"})


class Installed(NamedTuple):
    """The platforms by name, and the entry points whose name was taken already."""

    platforms: Mapping[str, EntryPoint]
    refused: tuple[EntryPoint, ...]


@functools.cache
def installed_platforms() -> Installed:
    """Return what is declared here; imports none of it.

    Our own are known also where no metadata tells of them, as in a source tree.
    """
    platforms = {name: EntryPoint(name, value, GROUP) for name, (value, _) in OWN.items()}
    refused: list[EntryPoint] = []
    for entry in entry_points(group=GROUP):
        taken = platforms.setdefault(entry.name, entry)
        if taken.value != entry.value:
            refused.append(entry)
    return Installed(platforms, tuple(refused))


def require_platform(name: str) -> EntryPoint:
    """Return where the platform of a name is.

    Raises:
        ModelRejected: no installed package declares it.
    """
    platforms = installed_platforms().platforms
    entry = platforms.get(name)
    if entry is None:
        known = ", ".join(sorted(platforms))
        raise ModelRejected(
            f"platform {name!r} is not known here; known platforms are: {known}; others come with "
            f"packages that have an entry point in the group {GROUP}"
        )
    return entry


def platform_named(name: str) -> Platform:
    """Import, preload and return a platform.

    Raises:
        ModelRejected: there is none of that name, or it cannot be imported here.
    """
    entry = require_platform(name)
    try:
        platform = cast("Platform", entry.load())
        platform.preload()
    except ImportError as error:
        raise ModelRejected(
            f"platform {name} cannot be imported: {error}; {_advice(entry)}"
        ) from error
    except Exception as error:  # door: what is at the other end is not ours
        raise ModelRejected(
            f"platform {name} ({entry.value}) failed to start: {type(error).__name__}: {error}"
        ) from error
    return platform if name in _TRUSTED else GuardedPlatform(platform)


def _advice(entry: EntryPoint) -> str:
    if entry.name in OWN:
        return f"install headrace[{OWN[entry.name][1]}]"
    package = entry.dist.name if entry.dist else "the package that brings it"
    return f"install {package} with what it needs"
