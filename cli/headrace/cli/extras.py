"""Which optional part of Headrace brings which module, and how to ask for a part that is missing.

Knows names only and imports none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

_SERVING: Final = (
    "aiohttp",
    "grpc",
    "grpc_health",
    "grpc_reflection",
    "keras",
    "msgspec",
    "tensorflow",
)
_MODULES: Final[Mapping[str, tuple[str, ...]]] = {
    "signing": ("cryptography",),
    "serving": _SERVING,
    "quickstart": (*_SERVING, "sklearn", "tensorflow_serving"),
}


class MissingExtra(ImportError):
    """A command needs an optional part of Headrace that is not installed."""

    def __init__(self, extra: str) -> None:
        super().__init__(needed(extra))
        self.extra = extra


def require(extra: str) -> None:
    """Raise MissingExtra unless every module of the extra can be imported; imports none."""
    if any(find_spec(module) is None for module in _MODULES[extra]):
        raise MissingExtra(extra)


def that_brings(error: BaseException) -> str | None:
    """Return the extra that would have prevented this import error, None when none would."""
    if isinstance(error, MissingExtra):
        return error.extra
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return None
    missing = error.name.partition(".")[0]
    return next((extra for extra, modules in _MODULES.items() if missing in modules), None)


def needed(extra: str) -> str:
    """Return in words that an extra is needed, to be put after the name of a command."""
    return f"needs the {extra} extra: pip install 'headrace[{extra}]'"
