"""From an epoch of Keras to the answer of a node."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from headrace.publisher import KafkaConnection
from headrace.publisher.keras import PublishBest
from tests.e2e.rig import Site, deployment, grpc_client
from tests.keras_models import train, untrained_line

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def site(bootstrap_servers: str, unique_name: str, tmp_path: Path) -> Site:
    """A deployment of this test's own on the shared broker."""
    return Site(KafkaConnection(bootstrap_servers), unique_name, tmp_path)


async def test_a_node_answers_with_the_epoch_that_the_callback_published(site: Site) -> None:
    """Each epoch's version serves before the next one is trained, and answers as Keras does."""
    line = untrained_line()
    x = np.array([[-0.5], [0.25]], np.float32)
    async with (
        deployment(site) as (node, publisher),
        grpc_client(node) as client,
        site.client() as stream,
    ):
        callback = PublishBest("line", publisher, monitor="loss", wait="fleet")
        for epoch in (1, 2):
            await asyncio.to_thread(train, line, callback, epochs=1)
            published = callback.published[-1]
            assert published.version == epoch
            expected = np.asarray(line(x)).ravel()
            answer = await stream.infer("line", {"x": x})
            assert answer.control_offset == published.control_offset
            assert answer.artifact_digest == published.digest
            np.testing.assert_allclose(answer.outputs["output_0"].ravel(), expected, rtol=1e-5)
            outputs, version = await client.predict("line", {"x": x})
            assert version == epoch
            np.testing.assert_allclose(outputs["output_0"], expected, rtol=1e-5)
        assert callback.failures == []
