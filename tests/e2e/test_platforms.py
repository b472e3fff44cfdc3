"""Models of all platforms in real nodes, and the examples of docs/platforms.md as written."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from headrace.publisher import KafkaConnection, RefusedByNode
from tests.e2e.rig import NodeProcess, Site, deployment, grpc_client
from tests.models import model
from tests.onnx_models import write_onnx
from tests.python_models import write_python

X = {"x": [[1.0], [2.0], [5.0]]}
Y = [2.5, 3.0, 4.5]
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/platforms.md").read_text()

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def site(bootstrap_servers: str, unique_name: str, tmp_path: Path) -> Site:
    """A deployment of this test's own on the shared broker."""
    return Site(KafkaConnection(bootstrap_servers), unique_name, tmp_path)


def zygotes(node: NodeProcess) -> set[str]:
    """Return the platforms whose zygotes were started."""
    return {entry["platform"] for entry in node.events if entry["event"] == "zygote.started"}


def blocks(language: str) -> list[str]:
    """Return the page's blocks in a language; "" is what is typed or read as it is."""
    found: list[tuple[str, str]] = re.findall(
        r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE
    )
    return [block for name, block in found if name == language]


async def test_one_node_serves_all_platforms_at_every_door(site: Site, tmp_path: Path) -> None:
    """The same requests, the same answers, whatever runs the model."""
    folders = {
        "tensorflow": model("half_plus_two"),
        "onnx": write_onnx("half_plus_two", tmp_path / "onnx"),
        "python": write_python("half_plus_two", tmp_path / "python"),
    }
    async with (
        deployment(site) as (node, publisher),
        grpc_client(node) as client,
        site.client() as stream,
    ):
        for platform, folder in folders.items():
            published = await publisher.publish(platform, 1, folder, wait="fleet")
            assert published.platform == platform
        for platform in folders:
            outputs, _version = await client.predict(platform, X)
            assert outputs["y"] == Y
            answer = await stream.infer(platform, {"x": np.array(X["x"], np.float32)})
            assert answer.outputs["y"].ravel().tolist() == Y
        assert zygotes(node) == set(folders)


async def test_versions_of_one_model_may_change_their_platform(site: Site, tmp_path: Path) -> None:
    """A version of another platform takes over as any other does."""
    async with deployment(site) as (node, publisher), grpc_client(node) as client:
        await publisher.publish("m", 1, write_python("half_plus_two", tmp_path / "1"), wait="fleet")
        await publisher.publish("m", 2, write_onnx("half_plus_two", tmp_path / "2"), wait="fleet")
        assert await client.predict("m", X) == ({"y": Y}, 2)


async def test_a_zygote_that_nobody_wants_is_never_started(site: Site, tmp_path: Path) -> None:
    """Nor one for what was retired before the node came."""
    async with site.publisher() as publisher:
        await publisher.publish("old", 1, model("half_plus_two"))
        await publisher.retire("old", 1)
        await publisher.publish("m", 1, write_onnx("half_plus_two", tmp_path / "onnx"))
    async with site.node() as node, grpc_client(node) as client:
        await node.ready()
        assert await client.predict("m", X) == ({"y": Y}, 1)
        assert await node.stop() == 0
        assert zygotes(node) == {"onnx"}


async def test_a_version_of_an_unknown_platform_fails_alone(site: Site, tmp_path: Path) -> None:
    """In words that reach the publisher; the model beside it is served."""
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "weights").write_text("1")
    async with deployment(site) as (node, publisher), grpc_client(node) as client:
        with pytest.raises(
            RefusedByNode, match=r"'caffe' is not known here; .*headrace\.platforms"
        ):
            await publisher.publish("bad", 1, strange, platform="caffe", wait="fleet")
        await publisher.publish("m", 1, write_onnx("half_plus_two", tmp_path / "onnx"), wait="any")
        assert await client.predict("m", X) == ({"y": Y}, 1)
        assert zygotes(node) == {"onnx"}


async def published(site: Site, command: str) -> None:
    """Run a `headrace publish …` of the page, and wait for the fleet."""
    words = command.split()
    assert words[0] == "headrace"
    options = ["--wait", "fleet", "--store", (site.folder / "store").as_uri()]
    topics = {
        f"HEADRACE_{name}_TOPIC": topic
        for name, topic in {
            "CONTROL": site.topics.control,
            "STATUS": site.topics.status,
            "REQUEST": site.topics.requests,
            "RESPONSE": site.topics.responses,
            "DEAD_LETTER": site.topics.dead_letters,
        }.items()
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headrace.cli", *words[1:], *options),
        stderr=subprocess.PIPE,
        env={
            **os.environ,
            **topics,
            "HEADRACE_BOOTSTRAP_SERVERS": site.connection.bootstrap_servers,
        },
    )
    try:
        async with asyncio.timeout(100):
            _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()


def install_linear(folder: Path) -> Path:
    """Build the package of the page and unpack its wheel; return where it is installed."""
    package, installed = folder / "package", folder / "installed"
    package.mkdir()
    (package / "pyproject.toml").write_text(blocks("toml")[0])
    (package / "headrace_linear.py").write_text(blocks("python")[2])
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=package, check=True, capture_output=True, timeout=60)
    with zipfile.ZipFile(next(folder.glob("headrace_linear-*.whl"))) as wheel:
        wheel.extractall(installed)
    return installed


def write_models(folder: Path) -> list[str]:
    """Write the models of the page; return the commands that publish them."""
    make_onnx, python_class, _linear = blocks("python")
    subprocess.run([sys.executable, "-c", make_onnx], cwd=folder, check=True, timeout=60)
    plain = blocks("")
    [weights] = [block for block in plain if not block.startswith("headrace")]
    for name, text in (
        ("half_plus_two_python/model.py", python_class),
        ("half_plus_two_python/weights.txt", weights),
        ("linear/linear.json", blocks("json")[0]),
    ):
        file = folder / "models" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return [block for block in plain if block.startswith("headrace publish")]


async def test_examples_of_the_page_work_as_written(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Write, build, install and publish what the page shows, and ask a node for each."""
    commands = write_models(tmp_path)
    assert len(commands) == 3
    known = [*sys.path, str(install_linear(tmp_path))]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, known)))
    monkeypatch.chdir(tmp_path)
    async with deployment(site) as (node, _publisher), grpc_client(node) as client:
        for version, command in enumerate(commands, start=1):
            await published(site, command)
            outputs, served = await client.predict("half_plus_two", X)
            assert (outputs["y"], served) == (Y, version)
        assert zygotes(node) == {"onnx", "python", "linear"}
