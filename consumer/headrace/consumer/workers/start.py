"""One worker from fork to loaded: the first exchange on its stream."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import ArtifactCorrupt, LoadCrashed, ModelRejected
from headrace.consumer.workers import frames
from headrace.consumer.workers.link import Link
from headrace.consumer.workers.zygote_client import Zygotes


class LoadedWorker(NamedTuple):
    """A worker that has loaded its model, and what it said of it."""

    link: Link
    loaded: frames.Loaded


async def start_worker(zygotes: Zygotes, order: frames.Load) -> LoadedWorker:
    """Fork a worker and have it load a model.

    Raises:
        ModelRejected: the platform is unknown or refused the model.
        ArtifactCorrupt: what the model brought along cannot be read.
        LoadCrashed: the worker died while it loaded.
        LoadTimedOut: the zygote did not get ready or did not fork.

    Cancellation: the worker is gone when the cancelled call returns.
    """
    link = Link(await zygotes.fork(order.platform))
    try:
        await link.open()
        reply = await _ask(link, order)
        if reply is None:
            words = await link.wait_exit()
            raise LoadCrashed(f"the worker ended while it loaded: {words}")
        match reply:
            case frames.Loaded():
                return LoadedWorker(link, reply)
            case frames.LoadFailed(code=code, message=message):
                kind = ArtifactCorrupt if code == Code.DATA_LOSS else ModelRejected
                raise kind(f"{order.platform} refused the model: {message}")
            case _:
                raise LoadCrashed(f"the worker answered {type(reply).__name__} to Load")
    except BaseException:
        link.kill()
        await link.wait_exit()
        raise


async def _ask(link: Link, order: frames.Load) -> frames.FromWorker | None:
    """Send the order and return the first message, or None when the stream ends without one."""
    reply: asyncio.Future[frames.FromWorker | None] = asyncio.get_running_loop().create_future()

    def settle(message: frames.FromWorker | None) -> None:
        if not reply.done():
            reply.set_result(message)

    link.on_message = settle
    link.on_end = lambda: settle(None)
    if link.is_lost:
        return None
    link.send(order)
    return await reply
