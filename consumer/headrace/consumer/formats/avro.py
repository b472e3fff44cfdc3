"""InferenceRequest and InferenceResponse in Avro's single-object encoding."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from headrace.consumer.core.errors import InvalidRequest, UnreadableRequest
from headrace.consumer.formats.request import InferRequest
from headrace.consumer.platforms.platform import Array
from headrace.schemas import codec
from headrace.schemas.errors import WireError
from headrace.schemas.records import InferenceRequest, InferenceResponse, Tensor
from headrace.schemas.tensors import NUMPY_DTYPES, from_tensor, to_tensor

MAX_PAYLOAD_BYTES: Final = 64 * 2**20

_RAW_DTYPES: Final = frozenset(NUMPY_DTYPES.values())


class Avro:
    """The records of the Kafka door.

    **Concurrency:** one caller at a time.
    """

    def __init__(self, model: str, version: int) -> None:
        self._model = model
        self._version = version

    @property
    def raw_dtypes(self) -> frozenset[np.dtype[Any]]:
        """Every dtype but strings; see `vectorised.RawCodec`."""
        return _RAW_DTYPES

    def read(self, payload: bytes) -> InferRequest | InvalidRequest:
        """Return the request in an InferenceRequest; see `ordinary.Codec`."""
        try:
            record = _record(payload)
        except WireError as error:
            return UnreadableRequest(f"not an InferenceRequest: {error}")
        inputs: dict[str, Array] = {}
        for tensor in record.inputs:
            if tensor.name in inputs:
                return InvalidRequest(f"input {tensor.name!r} is there twice")
            try:
                inputs[tensor.name] = from_tensor(tensor)
            except WireError as error:
                return InvalidRequest(f"tensor parsing error: {tensor.name}: {error}")
        return InferRequest(record.signature, inputs, tuple(record.output_filter))

    def rewriter(self, payload: bytes) -> Callable[[Mapping[str, Array]], bytes]:
        """Return what writes a request with other values; see `vectorised.RawCodec`."""
        record = _record(payload)
        return lambda inputs: codec.encode(replace(record, inputs=_tensors(inputs)))

    def write(self, signature: str, outputs: Mapping[str, Array], style: Hashable) -> bytes:
        """Return an InferenceResponse; see `ordinary.Codec`. There is one style."""
        assert style is None
        return codec.encode(
            InferenceResponse(
                model=self._model,
                version=self._version,
                signature=signature,
                outputs=_tensors(outputs),
            )
        )


def _record(payload: bytes) -> InferenceRequest:
    return codec.decode(payload, InferenceRequest, max_bytes=MAX_PAYLOAD_BYTES)


def _tensors(arrays: Mapping[str, Array]) -> list[Tensor]:
    return [to_tensor(alias, array) for alias, array in arrays.items()]
