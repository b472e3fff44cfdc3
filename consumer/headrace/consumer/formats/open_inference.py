"""ModelInferRequest and ModelInferResponse of the Open Inference Protocol v2, in protobuf.

A request brings its tensors packed (`raw_input_contents`) or in typed fields (`contents`), and the
answer brings its own the same way; what has no typed field (FP16, BF16) is always packed. A
request names a signature other than `serving_default` by the parameter `headrace_signature`.

The answer's bytes are put together by hand around the tensors, as in `tensorflow_serving`.

Source: docs of the Open Inference Protocol v2, "gRPC"; Triton's `grpc_service.proto` and "Binary
tensor data" extension for the packed form.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from headrace.consumer.core.errors import InvalidRequest, UnreadableRequest
from headrace.consumer.formats import open_inference_tensors as tensors
from headrace.consumer.formats.request import InferRequest
from headrace.consumer.formats.wire import delimited
from headrace.consumer.platforms.platform import Array
from headrace.protos.open_inference_pb2 import (
    InferParameter,
    ModelInferRequest,
    ModelInferResponse,
)

SIGNATURE_PARAMETER: Final = "headrace_signature"
OWN_PREFIX: Final = "headrace_"
# Parameters that change where a tensor's bytes are, or what an output means: not obeying them
# would answer another question than the one asked.
UNSERVED: Final = ("shared_memory_region", "classification")


class Style(NamedTuple):
    """What an answer takes from its request besides the outputs."""

    id: str
    is_raw: bool


class OpenInference:
    """The format of the ModelInfer call.

    **Concurrency:** one caller at a time.
    """

    def __init__(self, model: str, version: int) -> None:
        head = ModelInferResponse(model_name=model, model_version=str(version))
        self._head = head.SerializeToString()

    def read(self, payload: bytes) -> InferRequest | InvalidRequest:
        """Return the request in a payload and the style of its answer, or what is wrong with it."""
        try:
            message = ModelInferRequest.FromString(payload)
        except DecodeError as error:
            return UnreadableRequest(f"not a ModelInferRequest: {error}")
        try:
            signature = _signature(message.parameters)
            inputs = _inputs(message)
            for output in message.outputs:
                _refuse_unserved(f"output {output.name!r}", output.parameters)
        except InvalidRequest as error:
            return error
        wanted = tuple([output.name for output in message.outputs])
        # Packed unless the request shows that its sender knows typed fields: Triton's own client
        # reads no numbers from those.
        is_raw = not any(tensor.HasField("contents") for tensor in message.inputs)
        style = Style(message.id, is_raw)
        return InferRequest(signature, inputs, wanted, style)

    @property
    def raw_dtypes(self) -> frozenset[np.dtype[Any]]:
        """See `vectorised.RawCodec`."""
        return tensors.RAW_DTYPES

    def rewriter(self, payload: bytes) -> Callable[[Mapping[str, Array]], bytes]:
        """Return what writes a request with other values; see `vectorised.RawCodec`."""
        message = ModelInferRequest.FromString(payload)
        # Typed fields stay as they are, so no layout is found: the ordinary path reads them as
        # Python's floats, which do not keep every NaN.
        packed = message.inputs if message.raw_input_contents else ()

        def rewritten(inputs: Mapping[str, Array]) -> bytes:
            for place, tensor in enumerate(packed):
                message.raw_input_contents[place] = inputs[tensor.name].tobytes()
            return message.SerializeToString()

        return rewritten

    def write(self, signature: str, outputs: Mapping[str, Array], style: Hashable) -> bytes:  # noqa: ARG002 - an answer does not name it
        """Return the encoded ModelInferResponse with these outputs, in their order.

        Raises:
            ValueError: this encoding cannot carry an output; the text says which.
        """
        assert isinstance(style, Style)
        pieces = [self._head]
        if style.id:
            pieces.append(delimited(3, style.id.encode()))
        if style.is_raw or any(map(tensors.is_raw_only, outputs.values())):
            raw: list[bytes] = []
            for alias, array in outputs.items():
                head = tensors.head(alias, array.dtype, array.shape)
                pieces.append(delimited(5, head))
                raw.append(delimited(6, tensors.to_raw(array)))
            return b"".join((*pieces, *raw))
        for alias, array in outputs.items():
            head = tensors.head(alias, array.dtype, array.shape)
            pieces.append(delimited(5, head + delimited(5, tensors.to_contents(array))))
        return b"".join(pieces)


def _signature(parameters: Mapping[str, InferParameter]) -> str:
    """Return the signature that the request's parameters name, or nothing."""
    signature = ""
    for name, parameter in parameters.items():
        if name == SIGNATURE_PARAMETER:
            if parameter.WhichOneof("parameter_choice") != "string_param":
                raise InvalidRequest(f"parameter {SIGNATURE_PARAMETER} must be a string_param")
            signature = parameter.string_param
        elif name.startswith(OWN_PREFIX):
            raise InvalidRequest(
                f"parameter {name!r:.80} is not known; known is {SIGNATURE_PARAMETER}"
            )
    return signature


def _inputs(message: ModelInferRequest) -> dict[str, Array]:
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise InvalidRequest(
            f"raw_input_contents has {len(raw)} entries for {len(message.inputs)} inputs; it must "
            "have one for each input, in their order"
        )
    inputs: dict[str, Array] = {}
    for place, tensor in enumerate(message.inputs):
        if tensor.name in inputs:
            raise InvalidRequest(f"input {tensor.name!r} is there twice")
        _refuse_unserved(f"input {tensor.name!r}", tensor.parameters)
        try:
            inputs[tensor.name] = (
                tensors.from_raw(tensor, raw[place]) if raw else tensors.from_contents(tensor)
            )
        except ValueError as error:
            raise InvalidRequest(f"tensor parsing error: {tensor.name}: {error}") from error
    return inputs


def _refuse_unserved(what: str, parameters: Mapping[str, InferParameter]) -> None:
    for name in UNSERVED:
        if name in parameters:
            raise InvalidRequest(f"{what} has the parameter {name}, which is not served here")
