"""The program as a whole: help, exit codes, light imports, one line per mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from headrace.cli import extras
from headrace.cli.main import app

HEAVY = {"aiokafka", "fastavro", "grpc", "keras", "numpy", "sklearn", "tensorflow"}
COMMANDS = (
    "broker",
    "config",
    "dead-letters",
    "forget",
    "history",
    "keys",
    "models",
    "pin",
    "plan",
    "predict",
    "publish",
    "quickstart",
    "replay",
    "retire",
    "rollback",
    "serve",
    "shadow",
    "topics",
    "unpin",
)


def headrace(*arguments: str, prelude: str = "") -> subprocess.CompletedProcess[str]:
    """Run the program in a fresh interpreter, which names the modules that it has in the end."""
    script = (
        "import atexit, sys\n"
        "atexit.register(lambda: sys.stderr.write('\\nMODULES ' + ' '.join(sys.modules)))\n"
        f"{prelude}\n"
        "from headrace.cli.main import main\n"
        f"sys.argv = ['headrace', *{list(arguments)!r}]\n"
        "main()\n"
    )
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )


def said(run: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the lines of standard error that were meant for a person."""
    return run.stderr.split("\nMODULES ")[0].split("\n")


def modules(run: subprocess.CompletedProcess[str]) -> set[str]:
    """Return the names of what the program had imported."""
    return set(run.stderr.split("\nMODULES ")[1].split())


def test_help_lists_every_command_and_loads_nothing_heavy() -> None:
    """`headrace --help` is for everybody, also on the light install."""
    run = headrace("--help")
    assert run.returncode == 0
    assert all(command in run.stdout for command in COMMANDS)
    assert all(panel in run.stdout for panel in ("Try", "Serve", "Publish", "Look"))
    assert modules(run) & HEAVY == set()


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "serve"])
def test_help_of_a_command_loads_nothing_heavy(command: str) -> None:
    """Each command explains itself without what it needs to run."""
    run = headrace(command, "--help")
    assert run.returncode == 0
    assert f"headrace {command}" in run.stdout
    assert modules(run) & HEAVY == set()


def test_serve_explains_its_settings() -> None:
    """`headrace serve --help` lists the node's settings, without TensorFlow."""
    run = headrace("serve", "--help")
    assert run.returncode == 0
    assert "--bootstrap-servers" in run.stdout
    assert modules(run) & {"tensorflow", "grpc"} == set()


def test_prints_its_version() -> None:
    """`--version` is one line."""
    run = headrace("--version")
    assert run.returncode == 0
    assert run.stdout.startswith("headrace 0.")


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("models", "--nonsense"),
        ("history",),
        ("predict", "m"),
        ("predict", "m", "--inputs", "{}", "--version", "0"),
        ("predict", "m", "--inputs", "{}", "--version", "1", "--label", "x"),
        ("predict", "m", "--inputs", "{}", "--dtype", "x=int64"),
        ("topics", "create", "--partitions", "0"),
        ("quickstart", "--versions", "0"),
        ("dead-letters", "replay"),
        ("dead-letters", "replay", "0:1", "--all"),
        ("dead-letters", "list", "--limit", "-1"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    """What cannot be meant is a usage error, told on standard error."""
    run = headrace(*arguments)
    assert run.returncode == 2
    assert run.stdout == ""
    assert "Error" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("history", "a/b"), "error: model name 'a/b' is not allowed"),
        (("models", "--bootstrap-servers", "x"), "error: bootstrap servers 'x' are not allowed"),
        (("predict", "m", "--inputs", "{x"), "error: --inputs is not JSON"),
        (("dead-letters", "list", "--since", "soon"), "error: --since 'soon' is no time"),
        (("dead-letters", "show", "first"), "error: 'first' names no dead letter"),
        (
            ("predict", "m", "--inputs", "{}", "--via", "kafka", "--dtype", "x"),
            "error: --dtype 'x'",
        ),
        (
            ("predict", "m", "--inputs", "{}", "--endpoint", "localhost:1"),
            "error: UNAVAILABLE: cannot reach a node at localhost:1",
        ),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_1(arguments: tuple[str, ...], words: str) -> None:
    """What was wrong, and no traceback."""
    run = headrace(*arguments)
    assert run.returncode == 1
    assert run.stdout == ""
    assert said(run)[0].startswith(words)
    assert said(run)[1:] == [""]


@pytest.mark.parametrize(
    ("arguments", "hidden", "extra"),
    [
        (("serve",), "grpc", "serving"),
        (("predict", "m", "--inputs", "{}"), "grpc", "serving"),
        (("quickstart",), "sklearn", "quickstart"),
        (("quickstart",), "tensorflow", "quickstart"),
    ],
)
def test_a_missing_extra_is_named(arguments: tuple[str, ...], hidden: str, extra: str) -> None:
    """On the light install a command says which part of Headrace it needs."""
    # As if it were not installed: neither found nor importable.
    prelude = (
        "import importlib.machinery as machinery\n"
        "find = machinery.PathFinder.find_spec\n"
        "machinery.PathFinder.find_spec = classmethod(\n"
        "    lambda cls, name, path=None, target=None:\n"
        f"    None if name == {hidden!r} else find(name, path, target))\n"
    )
    run = headrace(*arguments, prelude=prelude)
    assert run.returncode == 1
    assert said(run) == [
        f"headrace {arguments[0]} needs the {extra} extra: pip install 'headrace[{extra}]'",
        "",
    ]


def test_publishing_needs_no_extra(tmp_path: Path) -> None:
    """`headrace publish` gets as far as looking at the model without TensorFlow and gRPC."""
    run = headrace("publish", "m", str(tmp_path / "nowhere"))
    assert run.returncode == 1
    assert "nowhere" in said(run)[0]
    assert modules(run) & {"tensorflow", "grpc"} == set()


@pytest.mark.parametrize(("variable", "lines"), [("", 1), ("1", 4)])
def test_a_defect_is_one_line_unless_the_traceback_is_asked_for(variable: str, lines: int) -> None:
    """An exception that nobody expected names itself and how to see where it was."""
    prelude = (
        "import os\n"
        f"os.environ['HEADRACE_DEBUG'] = {variable!r}\n"
        "import headrace.cli.terminal as terminal, headrace.publisher.history as history\n"
        "async def broken(*_): raise RuntimeError('a\\nb')\n"
        "history.read_control = broken\n"
    )
    run = headrace("history", "m", prelude=prelude)
    assert run.returncode == 1
    told = said(run)[:-1]
    assert told[-1] == (
        "headrace history failed unexpectedly: RuntimeError: a b "
        "(with HEADRACE_DEBUG=1 it shows where)"
    )
    assert len(told) >= lines
    assert ("Traceback" in run.stderr) == bool(variable)


def test_every_optional_dependency_belongs_to_an_extra() -> None:
    """What the extras' modules are called is known, so that a missing one is explained."""
    assert extras.that_brings(ModuleNotFoundError(name="grpc_health.v1")) == "serving"
    assert extras.that_brings(ModuleNotFoundError(name="sklearn.datasets")) == "quickstart"
    assert extras.that_brings(ModuleNotFoundError(name="headrace.nonsense")) is None
    assert extras.that_brings(ValueError()) is None


def test_every_command_is_registered() -> None:
    """The list of this test is the list of the program."""
    commands = {info.callback.__name__ for info in app.registered_commands if info.callback}
    groups = {
        info.typer_instance.info.name for info in app.registered_groups if info.typer_instance
    }
    assert commands | groups == set(COMMANDS)
