"""InferenceRequest and InferenceResponse in Avro's single-object encoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from headrace.consumer.core.errors import InvalidRequest, UnreadableRequest
from headrace.consumer.formats.request import InferRequest, Rows
from headrace.consumer.platforms.platform import Array
from headrace.schemas import codec
from headrace.schemas.errors import WireError
from headrace.schemas.records import InferenceRequest, InferenceResponse
from headrace.schemas.tensors import from_tensor, to_tensor

MAX_PAYLOAD_BYTES: Final = 64 * 2**20


class AvroFormat:
    """The format of the Kafka door.

    **Concurrency:** one caller at a time.
    """

    def __init__(self, model: str, version: int) -> None:
        self._model = model
        self._version = version

    def decode(self, payloads: Sequence[bytes]) -> list[InferRequest | InvalidRequest]:
        """Return the request in each payload; see `request.Format.decode`."""
        return [_decoded(payload) for payload in payloads]

    def encode(
        self, signature: str, outputs: Mapping[str, Array], rows: Sequence[Rows]
    ) -> list[bytes]:
        """Return one InferenceResponse for each part; see `request.Format.encode`."""
        return [
            codec.encode(
                InferenceResponse(
                    model=self._model,
                    version=self._version,
                    signature=signature,
                    outputs=[to_tensor(alias, array[part]) for alias, array in outputs.items()],
                )
            )
            for part in rows
        ]


def _decoded(payload: bytes) -> InferRequest | InvalidRequest:
    try:
        record = codec.decode(payload, InferenceRequest, max_bytes=MAX_PAYLOAD_BYTES)
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
