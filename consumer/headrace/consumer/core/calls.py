"""What travels between a door and a worker: encoded requests in, encoded answers out.

The node never looks inside; it routes, and passes bytes on.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from headrace.consumer.core.codes import Code


class Encoding(IntEnum):
    """How a call's payload is encoded; the answer's payload is encoded alike."""

    AVRO = 1
    """`headrace.schemas.records.InferenceRequest`, single-object encoded."""
    TENSORFLOW_SERVING = 2
    """`tensorflow.serving.PredictRequest` in protobuf's wire format."""
    OPEN_INFERENCE = 3
    """`inference.ModelInferRequest` in protobuf's wire format."""
    TENSORFLOW_JSON = 4
    """The body of TensorFlow Serving's REST `:predict`."""


class Call(NamedTuple):
    """One encoded inference request.

    Units: `deadline_seconds` is a reading of the system-wide monotonic clock (`time.monotonic()`).
    """

    encoding: Encoding
    payload: bytes
    deadline_seconds: float


class Answer(NamedTuple):
    """The outcome of one call: with code OK an encoded response, otherwise why not.

    `is_unreadable` marks a payload that did not decode at all.
    """

    code: Code
    payload: bytes = b""
    message: str = ""
    is_unreadable: bool = False
