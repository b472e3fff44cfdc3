"""What travels between a door and a worker: encoded requests in, encoded answers out.

In columns, since a door may send a thousand at a time and an object for each would cost more than
the inference. The node never looks inside; it routes, and passes bytes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from headrace.consumer.core.codes import Code


class Encoding(IntEnum):
    """How a request's payload is encoded; its answer's payload is encoded alike."""

    AVRO = 1
    """`headrace.schemas.records.InferenceRequest`, single-object encoded."""
    TENSORFLOW_SERVING = 2
    """`tensorflow.serving.PredictRequest` in protobuf's wire format."""
    OPEN_INFERENCE = 3
    """`inference.ModelInferRequest` in protobuf's wire format."""
    TENSORFLOW_JSON = 4
    """The body of a predict request of TensorFlow Serving's REST API."""
    CLASSIFICATION = 5
    """`tensorflow.serving.ClassificationRequest` in protobuf's wire format."""
    REGRESSION = 6
    """`tensorflow.serving.RegressionRequest` in protobuf's wire format."""
    CLASSIFICATION_JSON = 7
    """The body of a classify request of TensorFlow Serving's REST API."""
    REGRESSION_JSON = 8
    """The body of a regress request of TensorFlow Serving's REST API."""
    OPEN_INFERENCE_JSON = 9
    """The body of an infer request of the Open Inference Protocol's REST API, with its binary
    extension: 4 bytes of little-endian length of the JSON, the JSON, the binary tensors."""


METHODS: Final = {
    "tensorflow/serving/classify": Encoding.CLASSIFICATION,
    "tensorflow/serving/regress": Encoding.REGRESSION,
}
"""The methods that a task of TensorFlow Serving's MultiInference may name."""


class Calls(NamedTuple):
    """Encoded requests for one version, each with its deadline; both lists have equal lengths.

    Units: `deadlines_seconds` are readings of the system-wide monotonic clock
    (`time.monotonic()`).
    """

    encoding: Encoding
    payloads: Sequence[bytes]
    deadlines_seconds: Sequence[float]

    @property
    def size_bytes(self) -> int:
        """The bytes of the payloads."""
        return sum(map(len, self.payloads))


class Fault(NamedTuple):
    """Why one request has no answer.

    `is_unreadable` marks a payload that did not decode at all.
    """

    code: Code
    message: str
    is_unreadable: bool = False


class Answers(NamedTuple):
    """The outcomes of `Calls`, in their order.

    A request that failed has its fault at its place in `faults`, and an empty payload.
    """

    payloads: Sequence[bytes]
    faults: dict[int, Fault]


def refused(fault: Fault, count: int) -> Answers:
    """Return the same fault for so many requests."""
    return Answers([b""] * count, dict.fromkeys(range(count), fault))
