"""One process of a zygote as the node sees it, and the workers that it has forked.

Owns the control socket: requests go out, replies and deaths come in by a callback of the event
loop. Starting anew after a death is `zygote_client`'s business.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import structlog

from headrace.consumer.core.errors import LoadCrashed, LoadError, ModelRejected
from headrace.consumer.workers import control

log = structlog.get_logger()

_MODULE: Final = "headrace.consumer.workers.zygote"
_STOP_SECONDS: Final = 5.0
# One thread after the import is what makes forking safe; the workers' own pools are set per load.
# onnxruntime's wheels start another one, which tells their maker of every session.
_ENVIRONMENT: Final = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}
# Without a GPU driver TensorFlow says so as an error, anew in every worker; what is wrong with a
# model comes as an exception, and is not lost by leaving its errors out of the log.
_HAS_GPU_DRIVER: Final = Path("/proc/driver/nvidia").exists()
_ENVIRONMENT_DEFAULTS: Final = {"TF_CPP_MIN_LOG_LEVEL": "2" if _HAS_GPU_DRIVER else "3"}


class WorkerProcess:
    """A forked worker as its owner sees it: a stream to it, its end, and how to end it.

    **Concurrency:** event loop only.
    """

    def __init__(self, life: ZygoteLife, stream: socket.socket, pid: int) -> None:
        self.stream = stream
        self.pid = pid
        self.exited: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._life = life

    def kill(self) -> None:
        """End the process now; `exited` tells when it has."""
        if not self.exited.done():
            self._life.kill(self.pid)


class _Asked(NamedTuple):
    """A fork that the zygote has been asked for, and our end of the socket sent along."""

    reply: asyncio.Future[WorkerProcess]
    stream: socket.socket


class ZygoteLife:
    """One process of a zygote, from its start to its end.

    **Concurrency:** event loop only.
    """

    def __init__(
        self, platform: str, process: asyncio.subprocess.Process, channel: socket.socket
    ) -> None:
        self.process = process
        self.is_over = False
        self._platform = platform
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self._asked: dict[int, _Asked] = {}
        self._workers: dict[int, WorkerProcess] = {}
        self._next_fork = 0
        self._loop.add_reader(channel, self._receive)

    @classmethod
    async def start(cls, platform: str) -> Self:
        """Start a zygote; `ready` tells when its platform is imported.

        Cancellation: nothing is left behind.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(ours.close)
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                # Not from the working folder: a stray tensorflow.py must not be the platform.
                # Unbuffered: a worker ends without writing what is left of what a model printed.
                *("-P", "-u", "-m", _MODULE, "--platform", platform),
                *("--fd", str(theirs.fileno()), "--parent", str(os.getpid())),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,  # What models print is no answer of the node's own commands.
                env=_environment(os.environ),
            )
            undo.pop_all()
        ours.setblocking(False)
        log.info("zygote.started", platform=platform, pid=process.pid)
        return cls(platform, process, ours)

    async def fork(self) -> WorkerProcess:
        """Have a worker forked.

        Raises:
            LoadCrashed: the zygote died, or the system refused to fork.

        Cancellation: a worker forked after all is gone when the cancelled call returns.
        """
        if self.is_over:
            raise self._gone()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        number, self._next_fork = self._next_fork, self._next_fork + 1
        reply: asyncio.Future[WorkerProcess] = self._loop.create_future()
        self._asked[number] = _Asked(reply, ours)
        with theirs:
            self._send(control.Fork(number), [theirs.fileno()])
        try:
            return await asyncio.shield(reply)
        except asyncio.CancelledError:
            await self._discard(reply)
            raise

    def kill(self, pid: int) -> None:
        """Kill a worker. One that has ended is left alone."""
        if not self.is_over:
            self._send(control.Kill(pid), [])

    async def stop(self) -> None:
        """End the process and with it its workers; returns when it is reaped."""
        self._kill_zygote()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self.process.wait()
        except TimeoutError:
            log.warning("zygote.kill_unanswered", platform=self._platform, pid=self.process.pid)
        self._end()

    async def _discard(self, reply: asyncio.Future[WorkerProcess]) -> None:
        """End the worker of a fork that nobody wants any more."""
        await asyncio.wait([reply], timeout=_STOP_SECONDS)
        if not reply.done():
            reply.cancel()
        elif reply.exception() is None:
            worker = reply.result()
            worker.stream.close()
            worker.kill()
            await asyncio.wait([worker.exited], timeout=_STOP_SECONDS)

    def _kill_zygote(self) -> None:
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()

    def _send(self, message: control.ToZygote, fds: list[int]) -> None:
        try:
            socket.send_fds(self._channel, [control.encode(message)], fds)
        except OSError:
            # Gone, or so stuck that its buffer of small packets is full: of no use either way.
            # The end of file that follows tells everyone who waits.
            self._kill_zygote()

    def _receive(self) -> None:
        """Take in what the zygote says; called by the loop when there is something."""
        while not self.is_over:
            try:
                packet = self._channel.recv(control.MAX_PACKET_BYTES)
            except BlockingIOError:
                return
            except ConnectionError:
                packet = b""
            if not packet:
                self._end()
                return
            self._take(control.decode_from_zygote(packet))

    def _take(self, message: control.FromZygote) -> None:
        match message:
            case control.Ready():
                if not self.ready.done():
                    self.ready.set_result(None)
            case control.Unfit(message=words):
                _fail(self.ready, ModelRejected(words))
            case control.Forked(id=number, pid=pid):
                asked = self._asked.pop(number)
                worker = self._workers[pid] = WorkerProcess(self, asked.stream, pid)
                if asked.reply.done():
                    worker.kill()  # Whoever wanted it was cancelled.
                    worker.stream.close()
                else:
                    asked.reply.set_result(worker)
            case control.ForkFailed(id=number, message=words):
                asked = self._asked.pop(number)
                asked.stream.close()
                _fail(asked.reply, LoadCrashed(words))
            case control.Exited(pid=pid, words=words):
                worker = self._workers.pop(pid)
                if not worker.exited.done():
                    worker.exited.set_result(words)

    def _end(self) -> None:
        """Note that the process is over; whoever waits for it or its workers is told."""
        if self.is_over:
            return
        self.is_over = True
        self._loop.remove_reader(self._channel)
        self._channel.close()
        # End of file can come before the process has gone all the way, as when its loop failed.
        self._kill_zygote()
        _fail(self.ready, self._gone())
        for asked in self._asked.values():
            asked.stream.close()
            _fail(asked.reply, self._gone())
        for worker in self._workers.values():
            if not worker.exited.done():
                worker.exited.set_result("killed with its zygote")
        self._asked.clear()
        self._workers.clear()

    def _gone(self) -> LoadCrashed:
        return LoadCrashed(
            f"the zygote of platform {self._platform} died; the next load starts one"
        )


def _fail(future: asyncio.Future[Any], error: LoadError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # Nobody may be waiting, and that is no reason for a warning.


def _environment(inherited: Mapping[str, str]) -> dict[str, str]:
    return {**_ENVIRONMENT_DEFAULTS, **inherited, **_ENVIRONMENT}
