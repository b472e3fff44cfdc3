"""What the node and a zygote say to each other: one MessagePack message per packet.

The control socket is a SOCK_SEQPACKET pair, so a packet is a message. `Fork` carries the worker's
end of its own socket pair as ancillary data (SCM_RIGHTS).
"""

from __future__ import annotations

from typing import Final

import msgspec

MAX_PACKET_BYTES: Final = 1 << 16


class Fork(msgspec.Struct, array_like=True, tag="fork", frozen=True):
    """Fork a worker that serves on the socket that comes with this packet."""

    id: int


class Kill(msgspec.Struct, array_like=True, tag="kill", frozen=True):
    """Kill a worker. Safe against a reused pid: only a child not yet reaped is killed."""

    pid: int


class Ready(msgspec.Struct, array_like=True, tag="ready", frozen=True):
    """The platform is imported; forks are quick from now on."""


class Unfit(msgspec.Struct, array_like=True, tag="unfit", frozen=True):
    """The zygote cannot serve, in words; it ends after saying so."""

    message: str


class Forked(msgspec.Struct, array_like=True, tag="forked", frozen=True):
    """The worker asked for by `Fork` of the same id runs as `pid`."""

    id: int
    pid: int


class ForkFailed(msgspec.Struct, array_like=True, tag="fork_failed", frozen=True):
    """The system refused to fork, in words."""

    id: int
    message: str


class Exited(msgspec.Struct, array_like=True, tag="exited", frozen=True):
    """A worker has ended; `words` say how: "killed by SIGSEGV", "exit code 70"."""

    pid: int
    words: str


ToZygote = Fork | Kill
FromZygote = Ready | Unfit | Forked | ForkFailed | Exited

_encoder: Final = msgspec.msgpack.Encoder()
_to_zygote: Final[msgspec.msgpack.Decoder[ToZygote]] = msgspec.msgpack.Decoder(ToZygote)
_from_zygote: Final[msgspec.msgpack.Decoder[FromZygote]] = msgspec.msgpack.Decoder(FromZygote)


def encode(message: ToZygote | FromZygote) -> bytes:
    """Return a message as one packet."""
    return _encoder.encode(message)


def decode_to_zygote(packet: bytes) -> ToZygote:
    """Return the message that a zygote received."""
    return _to_zygote.decode(packet)


def decode_from_zygote(packet: bytes) -> FromZygote:
    """Return the message that a zygote sent."""
    return _from_zygote.decode(packet)
