"""Where a protobuf request goes, read from its bytes without decoding its tensors.

For the doors, so it knows messages and no arrays.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from headrace.consumer.core.errors import InvalidRequest, UnreadableRequest
from headrace.protos.routing_pb2 import ModelInferRoute, PredictRoute
from headrace.protos.tensorflow_serving_pb2 import ModelSpec
from headrace.schemas.records import MAX_VERSION, Route

M = TypeVar("M", bound=Message)

_FIELD_1: Final = 0x0A
"""The tag of a message's field 1, length-delimited."""
_FIELD_2: Final = 0x12
_MAX_ONE_BYTE_LENGTH: Final = 127
_MAX_DIGITS: Final = len(str(MAX_VERSION))


def decode(kind: type[M], data: bytes) -> M:
    """Return the message that `data` holds.

    Raises:
        UnreadableRequest: the bytes are not such a message.
    """
    try:
        return kind.FromString(data)
    except DecodeError as error:
        name = kind.DESCRIPTOR.name.replace("Route", "Request")
        raise UnreadableRequest(f"the bytes of this request are not a {name}") from error


def read_predict_route(request: bytes) -> Route:
    """Return the route of an encoded `tensorflow.serving.PredictRequest`.

    Encoders write fields in the order of their numbers, so the model spec comes first and is short.
    Then only its bytes are looked at: 0.5 µs, whatever the size of the tensors (letting protobuf
    skip 5 MB of them takes 0.9 ms). A model spec that some encoder were to write in two pieces
    would be routed by the first.

    Raises:
        InvalidRequest: the request names no model.
        UnreadableRequest: the bytes are not a request.
    """
    end = _end_of_field(request, 0, _FIELD_1)
    if end:
        return _route_of_spec(request[2:end])
    route = decode(PredictRoute, request)
    return route_of(route.model_spec if route.HasField("model_spec") else None)


def read_infer_route(request: bytes) -> Route:
    """Return the route of an encoded `inference.ModelInferRequest`.

    Model name and version are its first fields, and are read like the model spec above. A version
    in digits is a version number; other text is a label.

    Raises:
        InvalidRequest: the request names no model, or a version that cannot be one.
        UnreadableRequest: the bytes are not a request.
    """
    end = _end_of_field(request, 0, _FIELD_1)
    if end and end < len(request):
        if request[end] != _FIELD_2:
            return _route_of_names(request[:end])
        end = _end_of_field(request, end, _FIELD_2)
        if end:
            return _route_of_names(request[:end])
    return _infer_route(decode(ModelInferRoute, request))


def infer_route_of(model: str, version: str) -> Route:
    """Return the route that a model's name and a version mean in the Open Inference Protocol.

    Raises:
        InvalidRequest: there is no name, or the version cannot be one.
    """
    if not model:
        raise InvalidRequest("the request names no model: set model_name")
    if not version:
        return Route(model)
    if version.isascii() and version.isdigit():
        return Route(model, version=read_version(version))
    return Route(model, label=version)


def read_version(text: str) -> int:
    """Return the version number that a request names in digits.

    Raises:
        InvalidRequest: the text is not a number of 1 to `MAX_VERSION`.
    """
    version = int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else 0
    if not 0 < version <= MAX_VERSION:
        raise InvalidRequest(f"version {text!r:.40} is no version: give 1 to {MAX_VERSION}")
    return version


def route_of(spec: ModelSpec | None) -> Route:
    """Return the route that a model spec means.

    Raises:
        InvalidRequest: there is no spec, or no name in it.
    """
    if spec is None:
        raise InvalidRequest("Missing ModelSpec")
    if not spec.name:
        raise InvalidRequest("ModelSpec has no name specified.")
    match spec.WhichOneof("version_choice"):
        case "version":
            return Route(spec.name, version=spec.version.value)
        case "version_label":
            return Route(spec.name, label=spec.version_label)
        case _:
            return Route(spec.name)


def _end_of_field(request: bytes, start: int, tag: int) -> int:
    """Return where a short field that begins at `start` ends, or 0 when it has to be decoded."""
    if len(request) < start + 2 or request[start] != tag:
        return 0
    length = request[start + 1]
    end = start + 2 + length
    return end if length <= _MAX_ONE_BYTE_LENGTH and end <= len(request) else 0


# A node sees the same few routes over and over.


@lru_cache(maxsize=4096)
def _route_of_spec(spec: bytes) -> Route:
    return route_of(decode(ModelSpec, spec))


@lru_cache(maxsize=4096)
def _route_of_names(names: bytes) -> Route:
    return _infer_route(decode(ModelInferRoute, names))


def _infer_route(route: ModelInferRoute) -> Route:
    return infer_route_of(route.model_name, route.model_version)
