"""The zygote: a process that imports one platform once and forks a worker whenever it is asked.

`python -m headrace.consumer.workers.zygote --platform NAME --fd CONTROL --parent PID`, started by
`zygote_client`. It is single-threaded whenever it forks (checked), runs no op of the platform, and
reaps its workers. It ends with the node: by the parent-death signal and by end of file on the
control socket, whichever comes first; its workers end with it in the same way.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import selectors
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from headrace.consumer.core.errors import ModelRejected
from headrace.consumer.platforms.installed import platform_named
from headrace.consumer.platforms.platform import Platform
from headrace.consumer.workers import control, kernel, process

_CRASHED: Final = 70
"""Exit code of a worker in which our own code failed (EX_SOFTWARE of sysexits.h)."""


class ForkServer:
    """The loop of a zygote: forks, kills and reaps workers as the control socket asks.

    **Concurrency:** one thread, blocking; nothing else runs in the process.
    """

    def __init__(self, channel: socket.socket, platform: Platform) -> None:
        self._channel = channel
        self._platform = platform
        self._children: set[int] = set()
        self._wakeup, self._wakeup_writer = socket.socketpair()

    def serve(self) -> None:
        """Serve until the node closes the control socket."""
        self._wakeup.setblocking(False)
        self._wakeup_writer.setblocking(False)
        signal.set_wakeup_fd(self._wakeup_writer.fileno(), warn_on_full_buffer=False)
        # The handler does nothing; having one makes a child's death write to the wake-up socket.
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            selector.register(self._wakeup, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _events in selector.select()}
                if self._wakeup in ready:
                    with contextlib.suppress(BlockingIOError):
                        self._wakeup.recv(4096)
                    self._reap()
                if self._channel in ready and not self._obey(selector):
                    return

    def _obey(self, selector: selectors.BaseSelector) -> bool:
        """Do what one packet asks; return whether the node is still there."""
        packet, fds, _flags, _address = socket.recv_fds(
            self._channel, control.MAX_PACKET_BYTES, maxfds=1
        )
        if not packet:
            return False
        match control.decode_to_zygote(packet):
            case control.Fork(id=request):
                self._fork(request, fds[0], selector)
            case control.Kill(pid=pid):
                if pid in self._children:
                    os.kill(pid, signal.SIGKILL)
        return True

    def _fork(self, request: int, worker_fd: int, selector: selectors.BaseSelector) -> None:
        zygote = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(worker_fd)
            self._say(control.ForkFailed(request, f"cannot fork a worker: {error}"))
            return
        if pid == 0:
            self._become_worker(zygote, worker_fd, selector)
        # The node sees end of file on its end only when no copy of this one is left.
        os.close(worker_fd)
        self._children.add(pid)
        self._say(control.Forked(request, pid))

    def _become_worker(self, zygote: int, worker_fd: int, selector: selectors.BaseSelector) -> None:
        """Turn the forked child into a worker; never returns."""
        code = _CRASHED
        try:
            kernel.die_with_parent(zygote)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for inherited in (selector, self._channel, self._wakeup, self._wakeup_writer):
                inherited.close()
            with socket.socket(fileno=worker_fd) as stream:
                process.serve(stream, self._platform)
            code = 0
        except BaseException:  # door: our own failure must end the worker, loudly
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            # Not sys.exit: the zygote's exit handlers are not this process's business.
            os._exit(code)

    def _reap(self) -> None:
        for pid in list(self._children):
            reaped, status = os.waitpid(pid, os.WNOHANG)
            if reaped:
                self._children.discard(pid)
                self._say(control.Exited(pid, kernel.words_of_exit(status)))

    def _say(self, message: control.FromZygote) -> None:
        # A node that is gone shows as end of file at the next turn of the loop.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._channel.send(control.encode(message))


@contextmanager
def _held_back_stderr() -> Generator[None]:
    """Keep what native code prints while it is imported, and show it only if the import fails."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            kept.seek(0)
            os.write(original, kept.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)


def _fit_platform(name: str) -> Platform:
    """Return the platform, imported.

    Raises:
        ModelRejected: there is no such platform, or it cannot be imported here, or it started
            threads, after which a fork would be unsafe.
    """
    with _held_back_stderr():
        platform = platform_named(name)
    threads = kernel.thread_count()
    if threads != 1:
        raise ModelRejected(
            f"platform {name} has {threads} threads after its import, expected 1: "
            "keep the platform, what it imports and sitecustomize from starting threads"
        )
    return platform


def main() -> int:
    """Run a zygote until the node goes away; return the exit code."""
    parser = argparse.ArgumentParser(prog="headrace zygote")
    parser.add_argument("--platform", required=True)
    parser.add_argument("--fd", required=True, type=int)
    parser.add_argument("--parent", required=True, type=int)
    arguments = parser.parse_args()
    kernel.die_with_parent(arguments.parent)
    kernel.set_process_name("headrace-zygote")
    # A terminal's Ctrl-C reaches the whole group, and it is the node that decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with socket.socket(fileno=arguments.fd) as channel:
        try:
            platform = _fit_platform(arguments.platform)
        except ModelRejected as error:
            channel.send(control.encode(control.Unfit(str(error))))
            return 1
        gc.collect()
        gc.freeze()
        channel.send(control.encode(control.Ready()))
        ForkServer(channel, platform).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
