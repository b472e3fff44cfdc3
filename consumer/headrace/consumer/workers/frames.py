"""The frames between the node and a worker: 4 bytes of little-endian length, then MessagePack.

Owns the messages and their bytes, and no socket. One stream carries one worker's frames; the node
speaks first (`Load`), the worker answers (`Loaded` or `LoadFailed`), and then `Run` frames go out
and `Ran` frames come back until one side closes.
"""

from __future__ import annotations

from typing import Final

import msgspec

from headrace.consumer.core.calls import Calls, Fault
from headrace.schemas.records import Batching

MAX_FRAME_BYTES: Final = 1 << 30
"""A longer frame is a mistake: both sides close the stream rather than read on."""

LENGTH_BYTES: Final = 4


class Load(msgspec.Struct, array_like=True, tag="load", frozen=True):
    """Load a model and say `Loaded` or `LoadFailed`.

    Units: thread counts are the platform's pool sizes.
    """

    platform: str
    path: str
    model: str
    version: int
    intra_op_threads: int
    inter_op_threads: int
    batching: Batching
    yields_cpu: bool


class Run(msgspec.Struct, array_like=True, tag="run", frozen=True):
    """Answer these calls, in one or more `Ran` frames with the same id.

    A call's position counts through all of `calls`, in their order.
    """

    id: int
    calls: list[Calls]


class Cancel(msgspec.Struct, array_like=True, tag="cancel", frozen=True):
    """Nobody waits for these calls of a `Run` any more: those that have not been run need not be.

    Every call of the `Run` is answered all the same.
    """

    id: int
    positions: list[int]


class Rebatch(msgspec.Struct, array_like=True, tag="rebatch", frozen=True):
    """Join requests by these rules from the next `Run` on."""

    batching: Batching


class Loaded(msgspec.Struct, array_like=True, tag="loaded", frozen=True):
    """The model is loaded and warm. `signature_def` is an encoded SignatureDefMap.

    `warmed` recorded requests were run; `skipped` were of a kind that is not served.
    """

    signature_def: bytes
    warmed: int
    skipped: int


class LoadFailed(msgspec.Struct, array_like=True, tag="load_failed", frozen=True):
    """The platform refused the model; `code` is a canonical status code."""

    code: int
    message: str


class Ran(msgspec.Struct, array_like=True, tag="ran", frozen=True):
    """Answers to some calls of one `Run`.

    `positions` are the calls' places in it; None means all of them, in order. `faults` has the
    calls that failed, by index into `payloads`, where an empty payload stands for them.
    """

    id: int
    positions: list[int] | None
    payloads: list[bytes]
    faults: dict[int, Fault]


ToWorker = Load | Run | Cancel | Rebatch
FromWorker = Loaded | LoadFailed | Ran

_encoder: Final = msgspec.msgpack.Encoder()
_to_worker: Final[msgspec.msgpack.Decoder[ToWorker]] = msgspec.msgpack.Decoder(ToWorker)
_from_worker: Final[msgspec.msgpack.Decoder[FromWorker]] = msgspec.msgpack.Decoder(FromWorker)


class FrameError(ValueError):
    """Bytes on the stream that are no frame of ours."""


def encode(message: ToWorker | FromWorker) -> bytearray:
    """Return a message as one frame.

    Raises:
        FrameError: the message is longer than a frame may be.
    """
    frame = bytearray(LENGTH_BYTES)
    _encoder.encode_into(message, frame, LENGTH_BYTES)
    body_bytes = len(frame) - LENGTH_BYTES
    if body_bytes > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {body_bytes} bytes is over the limit of {MAX_FRAME_BYTES}")
    frame[:LENGTH_BYTES] = body_bytes.to_bytes(LENGTH_BYTES, "little")
    return frame


def body_bytes_of(length: bytes | bytearray | memoryview) -> int:
    """Return how many bytes follow the four bytes of `length`.

    Raises:
        FrameError: more than a frame may have.
    """
    body_bytes = int.from_bytes(length, "little")
    if body_bytes > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {body_bytes} bytes is over the limit of {MAX_FRAME_BYTES}")
    return body_bytes


def decode_to_worker(body: bytes | bytearray | memoryview) -> ToWorker:
    """Return the message that a worker received.

    Raises:
        FrameError: the bytes are no such message.
    """
    try:
        return _to_worker.decode(body)
    except (msgspec.DecodeError, ValueError) as error:
        raise FrameError(f"not a message to a worker: {error}") from error


def decode_from_worker(body: bytes | bytearray | memoryview) -> FromWorker:
    """Return the message that a worker sent.

    Raises:
        FrameError: the bytes are no such message.
    """
    try:
        return _from_worker.decode(body)
    except (msgspec.DecodeError, ValueError) as error:
        raise FrameError(f"not a message from a worker: {error}") from error
