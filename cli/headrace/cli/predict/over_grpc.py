"""One inference over gRPC, by TensorFlow Serving's API: ask for the signature, then predict."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast
from urllib.parse import unquote

import grpc
import numpy as np
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import Int64Value

from headrace.cli.predict.json_tensors import Json, to_array
from headrace.cli.predict.question import Question
from headrace.consumer.formats.tensor_proto import encode_tensor_proto, from_tensor_proto
from headrace.protos.tensorflow_pb2 import DataType, TensorProto, TensorShapeProto
from headrace.protos.tensorflow_serving_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    ModelSpec,
    PredictRequest,
    PredictResponse,
    SignatureDefMap,
)
from headrace.publisher.errors import InferenceFailed, InvalidArgument
from headrace.publisher.inference import Inference, routing_headers
from headrace.schemas.records import DEFAULT_SIGNATURE

_SERVICE: Final = "/tensorflow.serving.PredictionService/"
_SIGNATURES: Final = "signature_def"
_PROVENANCE: Final = "headrace-provenance"
_UNLIMITED: Final = -1
_PLAIN: Final = re.compile("[!-~](?:[ -~]*[!-~])?")

Metadata = tuple[tuple[str, str], ...]

ResponseT = TypeVar("ResponseT", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """PEM files: who vouches for the node, and what the client shows, if anything."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files.

        Raises:
            InvalidArgument: a file cannot be read.
        """
        certificate, key = self.certificate, self.key or self.certificate
        return grpc.ssl_channel_credentials(
            _read(self.ca),
            _read(key) if certificate and key else None,
            _read(certificate) if certificate else None,
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcAsker:
    """Asks one node; without `tls`, in plaintext.

    **Concurrency:** one thread; blocking.
    """

    endpoint: str
    tls: ClientTls | None = None

    def predict(self, question: Question, inputs: Mapping[str, Json]) -> Inference:
        """Return the answer, within the question's time for all of it.

        Raises:
            InvalidArgument: an input's value does not fit the signature's dtype, a TLS file cannot
                be read, or the affinity is no text for gRPC.
            InferenceFailed: the node refused, or did not answer in time.
        """
        deadline = time.monotonic() + question.timeout_seconds
        route = question.route
        spec = ModelSpec(name=route.model, signature_name=question.signature)
        if route.version is not None:
            spec.version.CopyFrom(Int64Value(value=route.version))
        elif route.label is not None:
            spec.version_label = route.label
        metadata = _metadata(question)
        with self._channel() as channel:
            dtypes = self._dtypes(channel, spec, metadata, deadline)
            request = PredictRequest(model_spec=spec)
            for alias, value in inputs.items():
                array = to_array(alias, value, dtypes.get(alias))
                request.inputs[alias].MergeFromString(encode_tensor_proto(alias, array))
            asked = _Method(channel, "Predict", PredictResponse)
            response, origin = self._call(asked, request, metadata, deadline)
        outputs = {alias: from_tensor_proto(proto) for alias, proto in response.outputs.items()}
        answered = response.model_spec
        return Inference(
            outputs, answered.name, answered.version.value, answered.signature_name, origin
        )

    def _channel(self) -> grpc.Channel:
        options = [
            ("grpc.max_receive_message_length", _UNLIMITED),
            ("grpc.max_send_message_length", _UNLIMITED),
        ]
        if self.tls is None:
            return grpc.insecure_channel(self.endpoint, options=options)
        return grpc.secure_channel(self.endpoint, self.tls.credentials(), options=options)

    def _dtypes(
        self, channel: grpc.Channel, spec: ModelSpec, metadata: Metadata, deadline: float
    ) -> dict[str, np.dtype[Any]]:
        """Return the dtype of each input of the signature; empty when there is no such signature.

        The refusal of an unknown signature or input is the node's, in its own words.
        """
        request = GetModelMetadataRequest(model_spec=spec, metadata_field=[_SIGNATURES])
        asked = _Method(channel, "GetModelMetadata", GetModelMetadataResponse)
        response, _ = self._call(asked, request, metadata, deadline)
        signatures = SignatureDefMap.FromString(response.metadata[_SIGNATURES].value)
        wanted = signatures.signature_def.get(spec.signature_name or DEFAULT_SIGNATURE)
        if wanted is None:
            return {}
        return {alias: _dtype(alias, info.dtype) for alias, info in wanted.inputs.items()}

    def _call(
        self, method: _Method[ResponseT], request: Message, metadata: Metadata, deadline: float
    ) -> tuple[ResponseT, Mapping[str, str]]:
        """Return the response and where it comes from."""
        multi: grpc.UnaryUnaryMultiCallable[Message, ResponseT] = method.channel.unary_unary(
            _SERVICE + method.name,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=method.response_type.FromString,
        )
        left = max(0.0, deadline - time.monotonic())
        try:
            response, call = multi.with_call(request, timeout=left, metadata=metadata)
        except grpc.RpcError as error:
            raise self._failure(error) from error
        return response, _origin(call)

    def _failure(self, error: grpc.RpcError) -> InferenceFailed:
        # What a blocking call raises is a finished call too, with its code and words.
        finished = cast("grpc.Call", error)
        code, words = finished.code(), finished.details() or "no details"
        if code is grpc.StatusCode.UNAVAILABLE and "failed to connect" in words:
            words = (
                f"cannot reach a node at {self.endpoint}: start one with 'headrace serve', or give "
                f"its address with --endpoint"
            )
        return InferenceFailed(code.name, words)


class _Method(NamedTuple, Generic[ResponseT]):
    channel: grpc.Channel
    name: str
    response_type: type[ResponseT]


def _metadata(question: Question) -> Metadata:
    if question.affinity is not None and not _PLAIN.fullmatch(question.affinity):
        raise InvalidArgument(
            f"--affinity {question.affinity!a:.80} cannot travel over gRPC: give ASCII letters, "
            "digits and signs, or ask with --via kafka"
        )
    affinity = None if question.affinity is None else question.affinity.encode()
    headers = routing_headers(affinity, question.min_control_offset)
    return tuple((name, value.decode()) for name, value in headers)


def _origin(call: grpc.Call) -> Mapping[str, str]:
    """Return what the trailing metadata say of the answer's origin, under the names over Kafka."""
    for name, value in call.trailing_metadata() or ():
        if name == _PROVENANCE and isinstance(value, str):
            pairs = [pair.partition("=") for pair in value.split()]
            return {fact: unquote(text) for fact, _, text in pairs}
    return {}


def _dtype(alias: str, number: DataType) -> np.dtype[Any]:
    """Return numpy's dtype for TensorFlow's: that of an empty tensor."""
    empty = TensorProto(
        dtype=number, tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=0)])
    )
    try:
        return from_tensor_proto(empty).dtype
    except ValueError as error:
        raise InvalidArgument(f"input {alias!r} cannot be written as JSON: {error}") from error
