"""One node that the tests which change nothing share."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from headrace.publisher import KafkaConnection
from tests.e2e.rig import Site
from tests.models import model


@pytest.fixture(scope="module")
def shared_site(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A deployment for a whole module."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    return Site(KafkaConnection(bootstrap_servers), name, tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def shared_port(shared_site: Site) -> Iterator[int]:
    """The gRPC port of a node that serves half_plus_two as version 1 of m.

    A plain child process: event loops live for one test each.
    """

    async def publish() -> None:
        async with shared_site.publisher() as publisher:
            await publisher.publish("m", 1, model("half_plus_two"), wait="fleet", timeout=60)

    process = subprocess.Popen(
        [sys.executable, "-m", "headrace.consumer", *shared_site.arguments()],
        stderr=subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")},
    )
    try:
        assert process.stderr
        for line in process.stderr:
            if b'"node.started"' in line:
                port = int(json.loads(line)["grpc_port"])
                break
        else:
            raise AssertionError("the node ended before it started")
        asyncio.run(publish())
        yield port
    finally:
        process.terminate()
        # Drains the pipe, too.
        process.communicate(timeout=60)
