"""The JSON of the Open Inference Protocol's REST `infer`, with the binary tensor extension.

Payloads are framed: 4 bytes of little-endian length, so many bytes of JSON, then the packed bytes
of those tensors whose parameter `binary_data_size` says that they are there, in their order.

Source: Open Inference Protocol v2, "HTTP/REST"; Triton's "Binary tensor data" extension.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable, Mapping
from typing import Final, NamedTuple, TypeAlias, cast

import msgspec

from headrace.consumer.core.errors import InvalidRequest, UnreadableRequest
from headrace.consumer.formats import open_inference_tensors as tensors
from headrace.consumer.formats.json_bodies import encoded, parsed_as
from headrace.consumer.formats.json_tensors import Json, to_array, to_json
from headrace.consumer.formats.open_inference import OWN_PREFIX, SIGNATURE_PARAMETER, UNSERVED
from headrace.consumer.formats.request import InferRequest
from headrace.consumer.platforms.platform import Array

BINARY_SIZE: Final = "binary_data_size"
BINARY: Final = "binary_data"
BINARY_OUTPUT: Final = "binary_data_output"

LENGTH: Final = struct.Struct("<I")

Parameters: TypeAlias = dict[str, bool | int | float | str]


class Input(msgspec.Struct):
    """`$request_input`; its values are in `data`, or among the packed bytes."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = {}
    data: object = msgspec.UNSET


class Output(msgspec.Struct):
    """`$request_output`."""

    name: str
    parameters: Parameters = {}


class Request(msgspec.Struct):
    """`$inference_request`."""

    inputs: list[Input]
    outputs: list[Output] = []
    id: str = ""
    parameters: Parameters = {}


class Style(NamedTuple):
    """What an answer takes from its request besides the outputs: which of them go packed."""

    id: str
    is_binary: bool
    exceptions: frozenset[str]


class OpenInferenceJson:
    """The format of the REST infer call.

    **Concurrency:** one caller at a time.
    """

    def __init__(self, model: str, version: int) -> None:
        self._head: dict[str, Json] = {"model_name": model, "model_version": str(version)}

    def read(self, payload: bytes) -> InferRequest | InvalidRequest:
        """Return the request in a payload and the style of its answer, or what is wrong with it."""
        try:
            text, packed = unframed(payload)
            request = parsed_as(Request, text)
            signature = _signature(request.parameters)
            inputs = arrays(request.inputs, packed)
            style = _style(request)
        except InvalidRequest as error:
            return error
        return InferRequest(signature, inputs, tuple([o.name for o in request.outputs]), style)

    def write(self, signature: str, outputs: Mapping[str, Array], style: Hashable) -> bytes:  # noqa: ARG002 - an answer does not name it
        """Return the framed answer with these outputs, in their order.

        Raises:
            ValueError: this encoding cannot carry an output; the text says which.
        """
        assert isinstance(style, Style)
        packed: list[bytes] = []
        shown: list[Json] = []
        for alias, array in outputs.items():
            output: dict[str, Json] = {
                "name": alias,
                "datatype": tensors.datatype_of(alias, array.dtype),
                "shape": list(array.shape),
            }
            if style.is_binary != (alias in style.exceptions):
                packed.append(tensors.to_raw(array))
                output["parameters"] = {BINARY_SIZE: len(packed[-1])}
            else:
                output["data"] = _listed(alias, array)
            shown.append(output)
        head = self._head | {"id": style.id} if style.id else self._head
        text = encoded({**head, "outputs": shown})
        return b"".join((LENGTH.pack(len(text)), text, *packed))


def unframed(payload: bytes) -> tuple[bytes, memoryview]:
    """Return the JSON of a payload and what follows it.

    Raises:
        UnreadableRequest: it is shorter than it says.
    """
    end = LENGTH.size + (LENGTH.unpack_from(payload)[0] if len(payload) >= LENGTH.size else 0)
    if not LENGTH.size <= end <= len(payload):
        raise UnreadableRequest("not an infer request: its JSON is longer than the whole")
    return payload[LENGTH.size : end], memoryview(payload)[end:]


def _signature(parameters: Parameters) -> str:
    """Return the signature that the request's parameters name, or nothing."""
    for name in parameters:
        if name.startswith(OWN_PREFIX) and name != SIGNATURE_PARAMETER:
            raise InvalidRequest(
                f"parameter {name!r:.80} is not known; known is {SIGNATURE_PARAMETER}"
            )
    signature = parameters.get(SIGNATURE_PARAMETER, "")
    if not isinstance(signature, str):
        raise InvalidRequest(f"parameter {SIGNATURE_PARAMETER} must be a string")
    return signature


def _style(request: Request) -> Style:
    is_binary = _flag("the request", request.parameters, BINARY_OUTPUT, default=False)
    exceptions: list[str] = []
    for output in request.outputs:
        what = f"output {output.name!r:.80}"
        _refuse_unserved(what, output.parameters)
        if _flag(what, output.parameters, BINARY, default=is_binary) != is_binary:
            exceptions.append(output.name)
    return Style(request.id, is_binary, frozenset(exceptions))


def _flag(what: str, parameters: Parameters, name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidRequest(f"{what} has the parameter {name}, which must be true or false")
    return value


def arrays(given: list[Input], packed: memoryview) -> dict[str, Array]:
    """Return the arrays of tensors, whose values are listed or among the packed bytes.

    Raises:
        InvalidRequest: they are no tensors, or the bytes are not theirs.
    """
    inputs: dict[str, Array] = {}
    start = 0
    for tensor in given:
        if tensor.name in inputs:
            raise InvalidRequest(f"input {tensor.name!r:.80} is there twice")
        _refuse_unserved(f"input {tensor.name!r:.80}", tensor.parameters)
        try:
            if BINARY_SIZE in tensor.parameters:
                end = start + _packed_size(tensor, len(packed) - start)
                raw = bytes(packed[start:end])
                inputs[tensor.name] = tensors.unpacked(tensor.datatype, tensor.shape, raw)
                start = end
            else:
                inputs[tensor.name] = _unlisted(tensor)
        except ValueError as error:
            raise InvalidRequest(f"tensor parsing error: {tensor.name}: {error}") from error
    if start != len(packed):
        raise InvalidRequest(
            f"{len(packed)} bytes follow the JSON, and the inputs' {BINARY_SIZE} make {start}"
        )
    return inputs


def _packed_size(tensor: Input, left: int) -> int:
    size = tensor.parameters[BINARY_SIZE]
    if tensor.data is not msgspec.UNSET:
        raise ValueError(f"it has data beside {BINARY_SIZE}; give one or the other")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= left:
        raise ValueError(
            f"{BINARY_SIZE} is {size!r:.40}; it must be a number of bytes, and {left} are left"
        )
    return size


def _unlisted(tensor: Input) -> Array:
    """Return the array of a tensor whose values are in its JSON, nested by its shape or flat."""
    dtype = tensors.dtype_of(tensor.datatype)
    shape, count = tensors.shape_of(tensor.shape)
    if tensor.data is msgspec.UNSET:
        raise ValueError(f"it has no values: give data, or {BINARY_SIZE} and packed bytes")
    values = to_array(cast("Json", tensor.data), dtype)
    if values.size != count:
        raise ValueError(f"data has {values.size} values; shape {list(shape)} takes {count}")
    return tensors.reshaped(values, shape)


def _listed(alias: str, array: Array) -> Json:
    """Return an array's values as a flat list."""
    if array.dtype.kind != "O":
        return to_json(alias, array.ravel())
    try:
        return [text.decode() for text in cast("list[bytes]", array.ravel().tolist())]
    except UnicodeDecodeError as error:
        raise ValueError(
            f"output {alias!r} holds bytes that are no text: ask for it with the parameter {BINARY}"
        ) from error


def _refuse_unserved(what: str, parameters: Parameters) -> None:
    for name in UNSERVED:
        if name in parameters:
            raise InvalidRequest(f"{what} has the parameter {name}, which is not served here")
