"""docker-compose.yml and the Dockerfile use what the program really has."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import pytest
import typer
import yaml

from headrace.cli.main import app
from headrace.cli.quickstart.trainer import app as trainer
from headrace.consumer.settings import Settings

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()
OURS = [name for name, service in SERVICES.items() if "build" in service]
BROKERS = [name for name in SERVICES if name not in OURS]
NODES = [name for name in OURS if "serve" in SERVICES[name]["command"]]
TRAINER = ["python", "-m", "headrace.cli.quickstart.trainer"]
# In seconds, what the compose file gives a node to stop.
GRACE = re.compile(r"(\d+)s")


def parsed(command: Any, arguments: list[str]) -> Any:  # noqa: ANN401 - typer's, private
    """Return the command that would run, after it has taken its arguments, without running it."""
    if hasattr(command, "commands"):
        return parsed(command.commands[arguments[0]], arguments[1:])
    context = command.make_context(command.name, list(arguments))
    assert context.args == []
    return command


def variables(command: Any) -> set[str]:  # noqa: ANN401 - typer's, private
    """Return the environment variables that a command reads."""
    names: set[str] = set()
    for parameter in command.params:
        named = cast("str | list[str] | None", getattr(parameter, "envvar", None))
        names |= {named} if isinstance(named, str) else set(named or ())
    return names


def test_there_are_three_brokers_two_nodes_and_a_trainer() -> None:
    """The numbers that the documents promise."""
    assert len(BROKERS) == 3
    assert len(NODES) == 2
    assert set(OURS) == {"topics", "trainer", *NODES}


@pytest.mark.parametrize("name", NODES)
def test_a_node_takes_its_command_and_environment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every flag and variable of a serving node is a setting, with a value that it accepts."""
    service = SERVICES[name]
    assert service["command"][:2] == ["headrace", "serve"]
    for variable, value in service["environment"].items():
        monkeypatch.setenv(variable, value)
        assert variable.removeprefix("HEADRACE_").lower() in Settings.model_fields
    settings = Settings.from_arguments(service["command"][2:])
    assert settings.node == name
    assert not settings.create_topics
    grace = GRACE.fullmatch(service["stop_grace_period"])
    assert grace is not None
    assert int(grace[1]) > settings.drain_seconds


def test_the_topics_job_takes_its_command_and_environment() -> None:
    """It makes every topic with three copies, before any node starts."""
    service = SERVICES["topics"]
    program, *arguments = service["command"]
    assert program == "headrace"
    command = parsed(typer.main.get_command(app), arguments)
    assert set(service["environment"]) <= variables(command)
    assert "--replication-factor 3" in " ".join(arguments)
    for name in NODES:
        condition = SERVICES[name]["depends_on"]["topics"]["condition"]
        assert condition == "service_completed_successfully"


def test_the_trainer_takes_its_command_and_environment() -> None:
    """Its store is the folder that the nodes read, under the same path."""
    service = SERVICES["trainer"]
    assert service["command"][:3] == TRAINER
    command = parsed(typer.main.get_command(trainer), service["command"][3:])
    assert set(service["environment"]) <= variables(command)
    store = service["environment"]["HEADRACE_STORE"]
    assert f"store:{store}" in service["volumes"]
    for name in NODES:
        assert f"store:{store}:ro" in SERVICES[name]["volumes"]


def test_everybody_begins_with_the_brokers_that_there_are() -> None:
    """The bootstrap servers are the brokers' inner listeners, and every broker's id is its own."""
    servers = ",".join(f"{broker}:9092" for broker in BROKERS)
    assert {SERVICES[name]["environment"]["HEADRACE_BOOTSTRAP_SERVERS"] for name in OURS} == {
        servers
    }
    for number, broker in enumerate(BROKERS, start=1):
        environment = SERVICES[broker]["environment"]
        assert environment["KAFKA_NODE_ID"] == str(number)
        assert f"{number}@{broker}:9093" in environment["KAFKA_CONTROLLER_QUORUM_VOTERS"]
        port = SERVICES[broker]["ports"][0].split(":")[1]
        assert environment["KAFKA_ADVERTISED_LISTENERS"] == (
            f"PLAINTEXT://{broker}:9092,HOST://localhost:{port}"
        )
        assert environment["KAFKA_DEFAULT_REPLICATION_FACTOR"] == "3"
        assert environment["KAFKA_MIN_INSYNC_REPLICAS"] == "2"
        assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_every_service_waits_for_health_and_every_volume_exists() -> None:
    """What is depended on is checked, or has ended well; what is mounted is declared."""
    for service in SERVICES.values():
        for name, wish in service.get("depends_on", {}).items():
            if wish["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[name]
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in COMPOSE["volumes"]
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), "plaintext ports stay on this machine"


def targets() -> Iterator[str]:
    """Yield the build targets that the compose file uses."""
    for name in OURS:
        build = SERVICES[name]["build"]
        assert build["dockerfile"] == "docker/Dockerfile"
        yield build["target"]


def test_the_images_are_pinned_and_run_as_nobody_special() -> None:
    """Hash-checked requirements, no index address, no root."""
    for target in set(targets()):
        stage = DOCKERFILE.split(f" AS {target}\n")[1].split("\nFROM ")[0]
        assert "pip install --require-hashes -r /tmp/requirements.txt" in stage
        assert "\nUSER headrace\n" in stage
    for source in re.findall(r"^COPY ([\w./]+) ", DOCKERFILE, re.MULTILINE):
        assert (ROOT / source).exists(), source
    assert "://" not in DOCKERFILE
    assert "index-url" not in DOCKERFILE


def test_the_wheel_is_built_with_pinned_tools_only() -> None:
    """Everything that hatchling needs is picked from the pinned requirements, by name."""
    picked = re.search(r"\^\(([\w|-]+)\)==", DOCKERFILE)
    assert picked is not None
    needed = {
        re.split(r"[^\w-]", requirement)[0]
        for requirement in metadata.requires("hatchling") or ()
        if "python_version < '3.11'" not in requirement
    }
    assert set(picked[1].split("|")) == needed | {"hatchling"}
    pins = (ROOT / "requirements/dev.txt").read_text()
    assert all(f"\n{name}==" in pins for name in picked[1].split("|"))


def test_docker_understands_the_compose_file() -> None:
    """`docker compose config` accepts it, where it is installed."""
    docker = shutil.which("docker")
    probe = [str(docker), "compose", "version"]
    if not docker or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no docker with the compose plugin on this machine")
    subprocess.run(
        [docker, "compose", "--file", "docker-compose.yml", "config", "--quiet"],
        cwd=ROOT,
        check=True,
        timeout=60,
    )
