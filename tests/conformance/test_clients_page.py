"""Every example of docs/clients.md, run as written, and what it prints."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from headrace.publisher import KafkaConnection
from tests.certificates import Authority
from tests.conformance.node import Doors, running_node
from tests.e2e.rig import Site
from tests.models import model

PAGE = (Path(__file__).parents[2] / "docs/clients.md").read_text()
GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3"

pytestmark = pytest.mark.timeout(600)  # the first on a machine may build grpcurl


class Example(NamedTuple):
    """A program of the page, and what it prints."""

    language: str
    program: str
    output_language: str
    output: str


def examples() -> list[Example]:
    """Return the blocks of the page in pairs."""
    blocks: list[tuple[str, str]] = re.findall(
        r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE
    )
    return [
        Example(*program, *output)
        for program, output in zip(blocks[::2], blocks[1::2], strict=True)
    ]


def named(example: Example) -> str:
    """Return what to call an example."""
    return f"{example.language}-{example.program.splitlines()[-1].strip()[:60]}"


@pytest.fixture(scope="module")
def tools() -> Path:
    """A folder with grpcurl, which Go builds once per machine."""
    found = shutil.which("grpcurl")
    if found:
        return Path(found).parent
    folder = Path(tempfile.gettempdir()) / f"headrace-test-tools-{os.getuid()}"
    if not (folder / "grpcurl").exists():
        if not shutil.which("go"):
            pytest.skip("neither grpcurl nor Go to build it is on this machine")
        subprocess.run(
            ["go", "install", GRPCURL],
            env=os.environ | {"GOBIN": str(folder), "GOFLAGS": "-p=1"},
            check=True,
            capture_output=True,
            timeout=540,
        )
    return folder


@pytest.fixture(scope="module")
def guarded_port(
    bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, Path]]:
    """The gRPC port of a node with mutual TLS, and a folder with a client's files."""
    folder = tmp_path_factory.mktemp("guarded")
    authority = Authority.create(folder / "authority")
    node, client = authority.issue("localhost"), authority.issue("client")
    files = {"ca.pem": authority.certificate, "client.pem": client.certificate}
    for name, path in (files | {"client.key": client.key}).items():
        shutil.copy(path, folder / name)
    site = Site(KafkaConnection(bootstrap_servers), f"t-{uuid.uuid4().hex[:12]}", folder)

    async def publish() -> None:
        async with site.publisher() as publisher:
            await publisher.publish("half_plus_two", 1, model("half_plus_two"))

    asyncio.run(publish())
    with running_node(
        site,
        tls_certificate=node.certificate,
        tls_key=node.key,
        tls_client_ca=authority.certificate,
    ) as doors:
        yield doors.grpc_port, folder


def python_prints(program: str) -> str:
    """Run a program here, where TensorFlow need not be imported once more for each."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(program, "clients.md", "exec"), {"__name__": "__main__"})
    return printed.getvalue()


def shell_prints(program: str, tools: Path | None) -> str:
    """Run a script with a folder of tools on its path."""
    path = f"{tools}:{os.environ['PATH']}" if tools else os.environ["PATH"]
    done = subprocess.run(
        ["sh", "-e"],
        input=program,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_program_on_the_page_has_an_output() -> None:
    """A block that is neither would be run by nobody."""
    assert len(examples()) >= 9
    assert {each.language for each in examples()} == {"python", "sh"}
    assert {each.output_language for each in examples()} == {"text", "json"}


@pytest.mark.parametrize("example", examples(), ids=named)
def test_example_prints_what_the_page_says(
    example: Example,
    doors: Doors,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the ports differ from what a reader types."""
    program = example.program
    if "ssl=True" in program:
        port, folder = request.getfixturevalue("guarded_port")
        program = program.replace("localhost:8500", f"localhost:{port}")
        monkeypatch.chdir(folder)
    program = program.replace("localhost:8500", doors.grpc)
    program = program.replace("localhost:8501", f"127.0.0.1:{doors.http_port}")
    if example.language == "python":
        printed = python_prints(program)
    else:
        needs_tools = program.startswith("grpcurl")
        printed = shell_prints(program, request.getfixturevalue("tools") if needs_tools else None)
    if example.output_language == "json":
        assert json.loads(printed) == json.loads(example.output)
    else:
        assert printed == example.output
