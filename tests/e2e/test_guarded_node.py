"""A deployment on a broker that asks for a login over TLS, from publishing to the answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from headrace.publisher import KafkaConnection
from tests.e2e.rig import Site, deployment
from tests.guarded import PASSWORD, Guarded
from tests.models import model


def flags(settings: dict[str, object]) -> dict[str, object]:
    """Return settings as the node's flags."""
    return {f"kafka_{name}": value for name, value in settings.items()}


async def test_serves_over_sasl_and_tls(guarded: Guarded, unique_name: str, tmp_path: Path) -> None:
    """Node, publisher and inference client log in, each by the same settings."""
    password = tmp_path / "password"
    password.write_text(f"{PASSWORD}\n")
    settings = guarded.login(sasl_password="", sasl_password_file=password)
    site = Site(guarded.connection(settings), unique_name, tmp_path)
    known = {name: value for name, value in settings.items() if value}
    async with deployment(site, **flags(known)) as (node, publisher):
        await publisher.publish("m", 1, model("half_plus_two"), wait="fleet", timeout=60)
        async with site.client() as client:
            answer = await client.infer(
                "m", {"x": np.array([[1.0], [2.0]], np.float32)}, timeout=30
            )
        assert answer.outputs["y"].tolist() == [[2.5], [3.0]]
        assert await node.stop() == 0


async def test_a_node_with_a_wrong_password_says_so_and_waits(
    guarded: Guarded, unique_name: str, tmp_path: Path
) -> None:
    """The password may be right in a moment, and then the node serves."""
    password = tmp_path / "password"
    password.write_text("of yesterday")
    settings = guarded.login(sasl_password="", sasl_password_file=password)
    site = Site(guarded.connection(settings), unique_name, tmp_path)
    known = {name: value for name, value in settings.items() if value}
    async with site.node(**flags(known)) as node:
        told = await node.event("kafka.unreachable", user="control log")
        assert "refused the login of 'alice'" in told["reason"]
        password.write_text(PASSWORD)
        await node.ready()
        assert await node.stop() == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kafka_sasl_mechanism": "PLAIN"}, "PLAIN needs sasl_username"),
        ({"kafka_ssl_ca_file": "/nowhere/ca.pem"}, "ssl_ca_file /nowhere/ca.pem cannot be read"),
    ],
)
async def test_a_node_with_settings_that_do_not_fit_ends(
    settings: dict[str, object], words: str, unique_name: str, tmp_path: Path
) -> None:
    """One line and exit code 1, before it looks for Kafka."""
    async with Site(KafkaConnection(), unique_name, tmp_path).node(**settings) as node:
        async with asyncio.timeout(30):
            assert await node.process.wait() == 1
    assert len(node.plain) == 1
    assert words in node.plain[0]
