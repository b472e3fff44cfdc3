"""The pages that list what the code has: events, errors, settings."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from headrace.consumer.core import errors
from headrace.consumer.core.errors import HeadraceError, LoadError, NodeError, RequestError

ROOT = Path(__file__).parents[2]
LOGGED = re.compile(r"\.(?:debug|info|warning|error|exception)\(\s*\"([a-z_]+\.[a-z_]+)\"")
NAMED = re.compile(r"ServableState\.[A-Z]+: \"([a-z_]+\.[a-z_]+)\"")


def logged_events() -> set[str]:
    """Return the events that the node's source logs."""
    source = "\n".join(
        path.read_text()
        for portion in ("consumer", "publisher")
        for path in (ROOT / portion).rglob("*.py")
    )
    return set(LOGGED.findall(source)) | set(NAMED.findall(source))


def test_every_event_is_documented_and_every_documented_event_is_logged() -> None:
    """docs/logging.md and the source name the same events."""
    page = (ROOT / "docs/logging.md").read_text()
    assert set(re.findall(r"^\| `([a-z_]+\.[a-z_]+)`", page, re.MULTILINE)) == logged_events()


def test_every_error_is_documented_with_its_code() -> None:
    """docs/errors.md has a row for each error that a user can meet."""
    rows = dict(
        re.findall(r"^\| `(\w+)` \| ([A-Z_]+)", (ROOT / "docs/errors.md").read_text(), re.MULTILINE)
    )
    roots = (HeadraceError, RequestError, LoadError, NodeError)
    tree = {
        name: error.code.name
        for name, error in vars(errors).items()
        if inspect.isclass(error) and issubclass(error, HeadraceError) and error not in roots
    }
    assert rows == tree


def test_the_error_tree_at_the_top_of_the_module_is_complete() -> None:
    """The tree that readers see names every class."""
    assert errors.__doc__
    for name, error in vars(errors).items():
        if inspect.isclass(error) and issubclass(error, HeadraceError):
            assert re.search(rf"\b{name}\b", errors.__doc__)
