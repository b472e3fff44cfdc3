"""The programs of docs/training.md, run as written, and what they print."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from headrace.cli.broker import EmbeddedBroker
from headrace.publisher import KafkaConnection
from headrace.schemas.topics import Topics
from tests.conformance.node import running_node
from tests.e2e.rig import Site

PAGE = (Path(__file__).parents[2] / "docs/training.md").read_text()
PROGRAMS: list[tuple[str, str]] = re.findall(
    r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE
)

pytestmark = pytest.mark.timeout(180)


@dataclass(frozen=True)
class AsInstalled(Site):
    """A deployment with the topics that it has when nobody names any."""

    @property
    def topics(self) -> Topics:
        """The default ones."""
        return Topics()


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker whose topics are no other test's, with one node, `node-1`."""
    broker = EmbeddedBroker()
    asyncio.run(broker.start())
    try:
        connection = KafkaConnection(broker.bootstrap_servers)
        site = AsInstalled(connection, "training", tmp_path_factory.mktemp("training"))
        with running_node(site, node_id="node-1"):
            yield broker.bootstrap_servers
    finally:
        asyncio.run(broker.stop())


def test_every_program_on_the_page_has_an_output() -> None:
    """A block that is neither would be run by nobody."""
    assert len(re.findall(r"^```\w+$", PAGE, re.MULTILINE)) == 2 * len(PROGRAMS) == 6


@pytest.mark.parametrize(("program", "output"), PROGRAMS, ids=["keras", "pusher", "publish"])
def test_program_prints_what_the_page_says(
    program: str, output: str, bootstrap: str, tmp_path: Path
) -> None:
    """Only the broker's port differs from what a reader types."""
    assert "localhost:9092" in program
    script = tmp_path / "program.py"
    script.write_text(program.replace("localhost:9092", bootstrap))
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env=inherited | {"XDG_DATA_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == output
