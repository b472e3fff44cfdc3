"""What a request's `content-type` header means: its encoding, where its route is, its error form.

Reads routes and writes errors; tensors are the worker's business.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from headrace.consumer.core.calls import Encoding
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import InvalidRequest
from headrace.consumer.formats.routes import read_infer_route, read_predict_route, read_version
from headrace.protos.rpc_status_pb2 import Status
from headrace.schemas import codec, routes
from headrace.schemas.errors import Undecodable
from headrace.schemas.records import InferenceError, InferenceResponse, Route
from headrace.schemas.topics import AnswerHeader

Headers: TypeAlias = Mapping[str, bytes | None]
ReadRoute: TypeAlias = Callable[[bytes, Headers], Route]

# JSON requests name their model as answers do: the REST path, which has it, is not there.
MODEL_HEADER: Final = AnswerHeader.MODEL
VERSION_HEADER: Final = AnswerHeader.VERSION
LABEL_HEADER: Final = "label"

AVRO_TYPE: Final = b"application/vnd.headrace.avro"
STATUS_TYPE: Final = b"application/x-protobuf;proto=google.rpc.Status"
_SHOWN_CHARACTERS: Final = 100
_MAX_HEADER_BYTES: Final = 512


class EncodedError(NamedTuple):
    """An error as the value of an answer; without a content type it is the default, Avro."""

    value: bytes
    content_type: bytes | None


EncodeError: TypeAlias = Callable[[Code, str, str, int | None], EncodedError]


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """One kind of request value, and of the answers to it.

    Attributes:
        encoding: what the worker decodes and encodes.
        answer_type: the `content-type` of an answer; None for none, which means Avro.
        read_route: returns where a value with these headers goes, or raises WireError, in words.
        encode_error: returns the answer that says, by code and in words (UTF-8 must be able to
            carry them), why there is none; with the model asked for, and the version if one was.

    **Concurrency:** immutable; share it freely. Equal content types give the same object.
    """

    encoding: Encoding
    answer_type: bytes | None
    read_route: ReadRoute
    encode_error: EncodeError


def content_of(header: bytes | None) -> Content:
    """Return what the value of a `content-type` header says of a record.

    Raises:
        WireError: there is no such type; the text names those there are.
    """
    if header is None:
        return DEFAULT
    if len(header) > _MAX_HEADER_BYTES:
        raise Undecodable(f"content-type has {len(header)} bytes; at most {_MAX_HEADER_BYTES}")
    return _content_of(header)


@lru_cache(maxsize=256)
def _content_of(header: bytes) -> Content:
    text = header.decode(errors="replace")
    kind, *rest = [part.strip() for part in text.split(";")]
    pairs = [part.partition("=") for part in rest]
    parameters = {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}
    wanted = kind.lower()
    if wanted in _PROTOBUF_TYPES:
        found = _MESSAGES.get(parameters.get("proto", ""))
    else:
        found = _PLAIN_TYPES.get(wanted)
    if found is None:
        raise Undecodable(
            f"content-type {text[:_SHOWN_CHARACTERS]!a} is not served; give none for Avro, or "
            f"one of: {', '.join(ACCEPTED)}"
        )
    return found


def _avro_route(value: bytes, _headers: Headers) -> Route:
    return routes.read_route(value)


def _predict_route(value: bytes, _headers: Headers) -> Route:
    try:
        return read_predict_route(value)
    except InvalidRequest as error:
        raise Undecodable(str(error)) from error


def _infer_route(value: bytes, _headers: Headers) -> Route:
    try:
        return read_infer_route(value)
    except InvalidRequest as error:
        raise Undecodable(str(error)) from error


def _json_route(_value: bytes, headers: Headers) -> Route:
    """Return the route that headers give, as a REST path does."""
    return named_route(headers)


def named_route(headers: Headers) -> Route:
    """Return the route that the headers `model`, and `version` or `label`, give.

    Raises:
        WireError: they give none, in words.
    """
    given = headers.get
    return _header_route(given(MODEL_HEADER), given(VERSION_HEADER), given(LABEL_HEADER))


@lru_cache(maxsize=1024)
def _header_route(model: bytes | None, version: bytes | None, label: bytes | None) -> Route:
    if not model:
        raise Undecodable(f"JSON requests name their model in the header {MODEL_HEADER!r}")
    if version is not None and label is not None:
        raise Undecodable("the headers 'version' and 'label' exclude each other")
    try:
        if version is not None:
            return Route(model.decode(), version=read_version(version.decode()))
        return Route(model.decode(), label=None if label is None else label.decode())
    except UnicodeDecodeError as error:
        raise Undecodable("the headers 'model', 'version' and 'label' are UTF-8") from error
    except InvalidRequest as error:
        raise Undecodable(str(error)) from error


def _avro_error(answer_type: bytes | None) -> EncodeError:
    def encode_error(code: Code, message: str, model: str, version: int | None) -> EncodedError:
        error = InferenceError(code=code.name, message=message)
        response = InferenceResponse(model=model, version=version, error=error)
        return EncodedError(codec.encode(response), answer_type)

    return encode_error


def _status_error(code: Code, message: str, _model: str, _version: int | None) -> EncodedError:
    return EncodedError(Status(code=code, message=message).SerializeToString(), STATUS_TYPE)


def _json_error(_code: Code, message: str, _model: str, _version: int | None) -> EncodedError:
    return EncodedError(json.dumps({"error": message}).encode(), b"application/json")


def _avro(answer_type: bytes | None) -> Content:
    return Content(Encoding.AVRO, answer_type, _avro_route, _avro_error(answer_type))


DEFAULT: Final = _avro(None)
"""The content of a record without a `content-type`."""

_PROTOBUF_TYPES: Final = ("application/x-protobuf", "application/protobuf")
_MESSAGES: Final = {
    "tensorflow.serving.PredictRequest": Content(
        Encoding.TENSORFLOW_SERVING,
        b"application/x-protobuf;proto=tensorflow.serving.PredictResponse",
        _predict_route,
        _status_error,
    ),
    "inference.ModelInferRequest": Content(
        Encoding.OPEN_INFERENCE,
        b"application/x-protobuf;proto=inference.ModelInferResponse",
        _infer_route,
        _status_error,
    ),
}
_PLAIN_TYPES: Final = {
    AVRO_TYPE.decode(): _avro(AVRO_TYPE),
    "avro/binary": _avro(b"avro/binary"),
    "application/json": Content(
        Encoding.TENSORFLOW_JSON, b"application/json", _json_route, _json_error
    ),
}
ACCEPTED: Final = (
    *_PLAIN_TYPES,
    *[f"{_PROTOBUF_TYPES[0]};proto={name}" for name in _MESSAGES],
)
"""The content types that requests may have, beside none."""
