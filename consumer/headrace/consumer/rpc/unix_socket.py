"""The gRPC door's Unix socket: whose the file is, and who may connect."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from grpc.aio import Server

from headrace.consumer.core.errors import NodeError

OWNER_AND_GROUP: Final = 0o660
_PROBE_SECONDS: Final = 1.0


def bind_unix(server: Server, path: Path) -> None:
    """Let `server` listen on a socket file that its owner and group may use.

    The file that a dead process has left behind is replaced; gRPC removes ours at shutdown.

    Raises:
        NodeError: somebody listens there, the file is no socket, or it cannot be made.
    """
    _check_free(path)
    with _umask(0o777 & ~OWNER_AND_GROUP):
        try:
            server.add_insecure_port(f"unix:{path}")
        except RuntimeError as error:
            raise NodeError(
                f"cannot make the Unix socket {path}: its folder must exist and be writable, and "
                "a path of a socket is at most 107 bytes long"
            ) from error


def _check_free(path: Path) -> None:
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    except OSError as error:
        raise NodeError(f"cannot make the Unix socket {path}: {error.strerror}") from error
    if not is_socket:
        raise NodeError(f"{path} is no socket: remove it, or choose another --unix-socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return
        except OSError as error:
            raise NodeError(
                f"cannot use the Unix socket {path}: {error.strerror or error}"
            ) from error
    raise NodeError(
        f"Unix socket {path} is taken: stop what listens there, or choose another --unix-socket"
    )


@contextmanager
def _umask(mask: int) -> Generator[None, None, None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
