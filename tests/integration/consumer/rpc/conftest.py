"""An open gRPC door, and TensorFlow Serving's own client stubs."""

from collections.abc import AsyncGenerator

import pytest
from grpc import aio

from tests.integration.consumer.rpc.rig import Rig, ready_rig


@pytest.fixture
async def rig() -> Rig:
    """The parts behind the door of a node that is ready; `half_plus_two` is at version 3."""
    rig = ready_rig()
    rig.serve("half_plus_two", 3)
    return rig


@pytest.fixture
async def channel(rig: Rig) -> AsyncGenerator[aio.Channel, None]:
    """A channel to the open door of `rig`."""
    async with rig.open() as channel:
        yield channel
