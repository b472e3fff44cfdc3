"""The pages that list what the code has: events, errors, settings."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
from pathlib import Path

import pytest
import typer
import typer.core
import typer.main

from headrace.cli.main import app
from headrace.consumer.core import errors
from headrace.consumer.core.errors import HeadraceError, LoadError, NodeError, RequestError

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
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


def readme_commands() -> list[list[str]]:
    """Return the `headrace …` lines of the README's code blocks, as arguments."""
    lines = README.splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("headrace ")]


@pytest.mark.parametrize("arguments", readme_commands(), ids=" ".join)
def test_commands_of_the_readme_are_understood(arguments: list[str]) -> None:
    """Each names a command and options that exist."""
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    command = group.commands[arguments[0]]
    command.make_context(arguments[0], arguments[1:])


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_imports_of_the_readme_work(block: str) -> None:
    """What its Python imports from Headrace is there."""
    for module, names in re.findall(r"^from (headrace[\w.]*) import (.+)$", block, re.MULTILINE):
        for name in names.split(", "):
            assert hasattr(importlib.import_module(module), name)
