"""PredictRequest and PredictResponse of TensorFlow Serving, in protobuf's wire format.

The answer's bytes are put together by hand around the tensors: the message class would copy each
tensor twice more. A test reads them back with the official classes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import Int64Value

from headrace.consumer.core.errors import InvalidRequest, UnreadableRequest
from headrace.consumer.formats.request import InferRequest
from headrace.consumer.formats.tensor_proto import (
    MAX_REPEATED_BYTES,
    RAW_DTYPES,
    encode_tensor_proto,
    from_tensor_proto,
)
from headrace.consumer.formats.wire import delimited
from headrace.consumer.platforms.platform import Array
from headrace.protos.tensorflow_serving_pb2 import ModelSpec, PredictRequest, PredictResponse

_MAX_BYTES_PER_BYTE: Final = 8
"""A number of one byte on the wire may be an int64."""


class TensorFlowServing:
    """The messages of the Predict call.

    **Concurrency:** one caller at a time.
    """

    def __init__(self, model: str, version: int) -> None:
        self._model = model
        self._version = version
        self._specs: dict[str, bytes] = {}

    def read(self, payload: bytes) -> InferRequest | InvalidRequest:
        """Return the request in a PredictRequest; see `ordinary.Codec`."""
        try:
            message = PredictRequest.FromString(payload)
        except DecodeError as error:
            return UnreadableRequest(f"not a PredictRequest: {error}")
        inputs: dict[str, Array] = {}
        left_bytes = _MAX_BYTES_PER_BYTE * len(payload) + MAX_REPEATED_BYTES
        for alias, proto in message.inputs.items():
            try:
                inputs[alias] = from_tensor_proto(proto)
            except ValueError as error:
                return InvalidRequest(f"tensor parsing error: {alias}: {error}")
            left_bytes -= inputs[alias].nbytes
            if left_bytes < 0:
                return InvalidRequest(
                    f"tensor parsing error: {alias}: the inputs carry {len(payload)} bytes and "
                    "stand for far more; send their values"
                )
        return InferRequest(message.model_spec.signature_name, inputs, tuple(message.output_filter))

    @property
    def raw_dtypes(self) -> frozenset[np.dtype[Any]]:
        """See `vectorised.RawCodec`."""
        return RAW_DTYPES

    def rewriter(self, payload: bytes) -> Callable[[Mapping[str, Array]], bytes]:
        """Return what writes a request with other values; see `vectorised.RawCodec`."""
        message = PredictRequest.FromString(payload)

        def rewritten(inputs: Mapping[str, Array]) -> bytes:
            for alias, array in inputs.items():
                proto = message.inputs[alias]
                # A typed field stays as it is, so no layout is found: the ordinary path reads it
                # as Python's floats, which do not keep every NaN.
                if proto.tensor_content:
                    proto.tensor_content = array.tobytes()
            return message.SerializeToString()

        return rewritten

    def write(self, signature: str, outputs: Mapping[str, Array], style: Hashable) -> bytes:
        """Return a PredictResponse; see `ordinary.Codec`. There is one style."""
        assert style is None
        pieces = [self._specs.get(signature) or self._spec(signature)]
        for alias, array in outputs.items():
            value = delimited(2, encode_tensor_proto(alias, array))
            pieces.append(delimited(1, delimited(1, alias.encode()) + value))
        return b"".join(pieces)

    def _spec(self, signature: str) -> bytes:
        """Return the encoded model_spec, which every answer of a signature begins with."""
        spec = ModelSpec(
            name=self._model, version=Int64Value(value=self._version), signature_name=signature
        )
        encoded = PredictResponse(model_spec=spec).SerializeToString()
        self._specs[signature] = encoded
        return encoded
