"""The publishing commands as a shell sees them: exit codes, one line of error, JSON."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from headrace.cli.commands.config import config
from headrace.cli.commands.forget import forget
from headrace.cli.commands.publish import publish
from headrace.cli.commands.retire import retire
from headrace.publisher import KafkaConnection
from headrace.publisher.topics import ensure_topics
from headrace.schemas.topics import Topics, specs
from tests.fakes.saved_models import write_saved_model
from tests.python_models import write_python


@pytest.fixture(scope="module")
def program(bootstrap_servers: str) -> typer.Typer:
    """The four commands as one program; the default topics exist."""
    asyncio.run(ensure_topics(KafkaConnection(bootstrap_servers), specs(Topics())))
    app = typer.Typer(pretty_exceptions_enable=False)
    for command in (publish, retire, config, forget):
        app.command()(command)
    return app


class Shell:
    """Runs commands with the environment of a user."""

    def __init__(self, program: typer.Typer, environment: dict[str, str]) -> None:
        self._program = program
        self._environment = environment

    def run(self, *arguments: str | Path) -> Result:
        """Run one command."""
        words = [str(argument) for argument in arguments]
        return CliRunner().invoke(
            self._program, words, env=self._environment, catch_exceptions=False
        )

    def json(self, *arguments: str | Path) -> Any:  # noqa: ANN401 - it is JSON
        """Run one command that must succeed, and return what it prints as JSON."""
        done = self.run(*arguments, "--json")
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    def error(self, *arguments: str | Path) -> str:
        """Run one command that must fail with one line on standard error, and return it."""
        done = self.run(*arguments)
        assert (done.exit_code, done.stdout) == (1, "")
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert lines == done.stderr.splitlines()[-1:]
        return lines[0]


@pytest.fixture
def shell(program: typer.Typer, bootstrap_servers: str, tmp_path: Path) -> Shell:
    environment = {
        "HEADRACE_BOOTSTRAP_SERVERS": bootstrap_servers,
        "HEADRACE_STORE": str(tmp_path / "store"),
        "COLUMNS": "200",
    }
    return Shell(program, environment)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_saved_model(tmp_path / "models" / "3")


def test_publishes_retires_and_forgets(
    shell: Shell, model: Path, unique_name: str, tmp_path: Path
) -> None:
    """Results on standard output, progress on standard error."""
    first = shell.run("publish", unique_name, model, "--version", "3")
    assert first.exit_code == 0
    assert first.stdout.startswith(f"published {unique_name} version 3 at offset ")
    assert "event in the log at offset" in first.stderr
    second = shell.json("publish", unique_name, model, "--metadata", "loss=0.1")
    assert (second["version"], second["served_by"]) == (4, [])
    assert second["uri"].startswith(f"file://{tmp_path}/store/sha256-")
    retired = shell.json("retire", unique_name, "3")
    assert (retired["version"], retired["released_by"]) == (3, [])
    assert shell.run("forget", unique_name, "3").stdout == f"forgot version/{unique_name}/3\n"
    assert "still published (version 4)" in shell.error("forget", unique_name)
    forgotten = shell.json("forget", unique_name, "--force")
    assert forgotten["forgotten"] == [f"version/{unique_name}/4"]
    assert forgotten["control_offset"] > retired["control_offset"]


def test_shows_and_changes_the_configuration(shell: Shell, model: Path, unique_name: str) -> None:
    """Without options it shows; with options it changes those and shows the whole."""
    shell.run("publish", unique_name, model, "--version", "3")
    shell.run("publish", unique_name, model, "--version", "5")
    assert shell.json("config", unique_name)["policy"] == "latest:1"
    changed = shell.json(
        "config",
        unique_name,
        *("--policy", "specific:3,5", "--label", "stable=3", "--label", "canary=5"),
        *("--split", "stable=95,canary=5", "--max-batch-rows", "64", "--preserving", "resource"),
    )
    offset = changed.pop("control_offset")
    assert offset >= 0
    arms = [
        {"arm": "stable", "weight": 95, "share_percent": 95.0, "version": None, "label": "stable"},
        {"arm": "canary", "weight": 5, "share_percent": 5.0, "version": None, "label": "canary"},
    ]
    assert changed.pop("arms") == [{**arm, "model": unique_name} for arm in arms]
    assert changed.pop("applied_by") == []
    assert changed == {
        "model": unique_name,
        "policy": "specific:3,5",
        "preserving": "resource",
        "labels": {"stable": 3, "canary": 5},
        "split": {"stable": 95, "canary": 5},
        "max_batch_rows": 64,
        "batch_timeout_micros": 0,
        "allowed_batch_rows": [],
        "pads_variable_length": False,
        "large_requests": "run_whole",
        "replicas": 1,
        "shadow": None,
    }
    error = shell.error("config", unique_name, "--unlabel", "canary")
    assert f"label 'canary' is still arm 'canary' of the split of '{unique_name}'" in error
    printed = shell.run("config", unique_name, "--split", "stable=99.5%,canary=0.5%").stdout
    assert "\n  stable: 99.5 % → label stable (version 3)\n  canary: 0.5 % → label c" in printed
    shell.json("config", unique_name, "--split", "none", "--unlabel", "canary")
    shown = shell.run("config", unique_name).stdout.splitlines()
    assert {"labels: stable=3", "split: none", "policy: specific:3,5"} <= set(shown)


def test_begins_changes_and_ends_a_shadow(shell: Shell, model: Path, unique_name: str) -> None:
    """What is not given stays; what cannot answer is refused, and nothing is written."""
    shell.json("publish", unique_name, model, "--version", "3")
    assert "is not published" in shell.error("config", unique_name, "--shadow", "4")
    assert "has no version" in shell.error("config", unique_name, "--shadow", f"no-{unique_name}")
    assert "no shadow" in shell.error("config", unique_name, "--shadow-tolerance", "1")
    assert "would mirror" in shell.error("config", unique_name, "--shadow", unique_name)
    assert "fraction 0" in shell.error("config", unique_name, "--shadow", "3=0")
    tolerances = ("--shadow-tolerance", "1e-3,0.01", "--shadow-tolerance", "y=0.5")
    shell.json("config", unique_name, "--label", "canary=3", "--shadow", "canary=12.5", *tolerances)
    shell.json("config", unique_name, "--shadow", "3")
    assert shell.json("config", unique_name)["shadow"] == {
        "target": "3",
        "fraction": 0.125,
        "tolerances": {
            "": {"absolute": 0.001, "relative": 0.01},
            "y": {"absolute": 0.5, "relative": 0.0},
        },
    }
    shown = shell.run("config", unique_name, "--shadow-tolerance", "none").stdout
    assert "shadow: 3=12.5\n" in shown
    assert shell.json("config", unique_name, "--shadow", "none")["shadow"] is None


def test_takes_the_batching_parameters_of_tensorflow_serving(
    shell: Shell, unique_name: str, tmp_path: Path
) -> None:
    """A parameters file is followed, single options win over it, and what is ignored is named."""
    file = tmp_path / "batching.pbtxt"
    file.write_text(
        "max_batch_size { value: 32 }  # rows\nallowed_batch_sizes: 8\nallowed_batch_sizes: 32\n"
        "pad_variable_length_inputs: true\nnum_batch_threads { value: 4 }"
    )
    changed = shell.run(
        "config", unique_name, "--batching-parameters-file", file, "--replicas", "2"
    )
    assert changed.exit_code == 0
    assert changed.stderr.startswith("ignored: num_batch_threads (")
    assert {
        "max batch rows: 32",
        "allowed batch rows: 8,32",
        "pads variable length: yes",
        "large requests: refuse",
        "replicas: 2",
    } <= set(changed.stdout.splitlines())
    flags = ("--max-batch-size", "16", "--allowed-batch-sizes", "4,16", "--large-requests", "split")
    shown = shell.json("config", unique_name, *flags, "--no-pad-variable-length-inputs")
    assert (shown["max_batch_rows"], shown["allowed_batch_rows"]) == (16, [4, 16])
    assert (shown["large_requests"], shown["pads_variable_length"]) == ("split", False)
    assert (
        shell.json("config", unique_name, "--allowed-batch-sizes", "none")["allowed_batch_rows"]
        == []
    )
    file.write_text("max_batch_sice { value: 32 }")
    error = shell.error("config", unique_name, "--batching-parameters-file", file)
    assert 'has no field named "max_batch_sice"' in error


def test_bad_input_is_one_line(shell: Shell, model: Path, unique_name: str) -> None:
    """What was wrong, what was expected, and no traceback."""
    publish_it = ("publish", unique_name, model)
    assert f"did you mean {model}?" in shell.error("publish", unique_name, model.parent)
    assert "there is nothing at" in shell.error("publish", unique_name, model / "nowhere")
    assert "model name 'a/b'" in shell.error("publish", "a/b", model)
    for version in ("0", "-1", str(2**63)):
        assert f"version {version} is not" in shell.error(*publish_it, "--version", version)
    assert "cannot write to the artefact store" in shell.error(
        *publish_it, "--store", model / "saved_model.pb" / "store"
    )
    assert "give host:port" in shell.error(*publish_it, "--bootstrap-servers", "localhost")
    assert "no version 9" in shell.error("retire", unique_name, "9")
    for option, value, words in (
        ("--split", "3=-1", "weight -1 of '3'"),
        ("--split", "3=0", "add up to 0"),
        ("--split", "x=1", "arm 'x' is neither a label"),
        ("--split", "7=1", "version 7 of"),
        ("--label", "stable=7", "never published (published: none)"),
        ("--policy", "specific:7", "the policy means version 7"),
    ):
        assert words in shell.error("config", unique_name, option, value)
    assert "no live node" in shell.error(*publish_it, "--wait", "fleet", "--timeout", "0.3")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--policy", "newest"),
        ("--policy", "latest:x"),
        ("--label", "stable"),
        ("--label", "stable=x"),
        ("--split", "stable=1,stable=2"),
        ("--split", "stable=95%,canary=4%"),
        ("--split", "stable=95%,canary=5"),
        ("--split", "stable=95,canary=x"),
        ("--split", "stable=95,"),
        ("--preserving", "nothing"),
        ("--max-batch-rows", "many"),
    ],
)
def test_unreadable_options_are_usage(shell: Shell, arguments: tuple[str, str]) -> None:
    """What cannot be parsed is told with the option's name and exit code 2."""
    done = shell.run("config", "ranker", *arguments)
    assert done.exit_code == 2
    assert arguments[0] in done.stderr


def test_no_broker_is_one_line(program: typer.Typer, model: Path) -> None:
    """With the address, and nothing of aiokafka's own complaints."""
    nowhere = Shell(program, {"HEADRACE_BOOTSTRAP_SERVERS": "localhost:1", "COLUMNS": "200"})
    words = nowhere.error("config", "ranker", "--label", "stable=3")
    assert "cannot reach Kafka at localhost:1 within" in words


def test_a_version_is_tried_and_compared_before_it_is_published(
    shell: Shell, unique_name: str, tmp_path: Path
) -> None:
    """By the options of the command; what is refused is one line."""
    folder = write_python("text", tmp_path / "text")
    examples = tmp_path / "examples.jsonl"
    examples.write_text('{"inputs": {"text": ["a"]}, "outputs": {"same_text": ["a"]}}\n')
    checks = ("--examples", examples, "--tolerance", "same_text=0.1,0.1")
    done = shell.run("publish", unique_name, folder, *checks)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.rstrip().endswith(", 1 example passed")
    assert "ran 1 of 1 examples" in done.stderr
    other = write_python("counting", tmp_path / "counting")
    refused = shell.run("publish", unique_name, other)
    assert refused.exit_code == 1
    assert "error: version 2 of" in refused.stderr
    allowed = shell.json("publish", unique_name, other, "--allow-incompatible")
    assert allowed["validation"] == {"examples": 0, "compared_with": 1, "is_compatible": False}
    hasty = ("--validation-timeout", "0.1", "--examples", examples)
    assert (
        "was still loading after 0.1 s" in shell.run("publish", unique_name, other, *hasty).stderr
    )
    assert shell.run("publish", unique_name, other, "--tolerance", "x").exit_code == 2
