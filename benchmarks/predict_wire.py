"""TensorFlow Serving's Predict as bytes: requests built once, answers read, one stub for both.

Uses the node's own message definitions, which are wire-compatible, because TensorFlow Serving's
package imports TensorFlow.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from grpc import aio

from headrace.consumer.formats.tensor_proto import from_tensor_proto
from headrace.protos.tensorflow_pb2 import DataType, TensorProto, TensorShapeProto
from headrace.protos.tensorflow_serving_pb2 import ModelSpec, PredictRequest, PredictResponse

METHOD: Final = "/tensorflow.serving.PredictionService/Predict"

Floats = npt.NDArray[np.float32]
Call = aio.UnaryUnaryMultiCallable[bytes, bytes]


def predict_call(channel: aio.Channel) -> Call:
    """Return Predict as a call of bytes to bytes."""
    call: Call = channel.unary_unary(METHOD)
    return call


def request_bytes(model: str, name: str, values: Floats) -> bytes:
    """Return a request with one float32 input."""
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in values.shape])
    tensor = TensorProto(
        dtype=DataType.DT_FLOAT, tensor_shape=shape, tensor_content=values.tobytes()
    )
    request = PredictRequest(model_spec=ModelSpec(name=model), inputs={name: tensor})
    return request.SerializeToString()


def framed(message: bytes) -> bytes:
    """Return a message as a gRPC request body: not compressed, its length, itself.

    **Source:** gRPC over HTTP2, "Length-Prefixed-Message".
    """
    return b"\0" + struct.pack(">I", len(message)) + message


def answered_version(answer: bytes) -> int:
    """Return the version that answered."""
    return PredictResponse.FromString(answer).model_spec.version.value


def output_of(answer: bytes, name: str) -> Floats:
    """Return a float32 output of an answer."""
    outputs: Any = PredictResponse.FromString(answer).outputs
    return np.asarray(from_tensor_proto(outputs[name]), np.float32)
