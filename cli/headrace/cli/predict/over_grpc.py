"""One inference over gRPC, by TensorFlow Serving's API: ask for the signature, then predict."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import grpc
import numpy as np
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import Int64Value

from headrace.cli.predict.json_tensors import Array, Json, to_array
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
from headrace.schemas.records import DEFAULT_SIGNATURE, Route

_SERVICE: Final = "/tensorflow.serving.PredictionService/"
_SIGNATURES: Final = "signature_def"
_UNLIMITED: Final = -1

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
    """Asks one node, in at most `timeout_seconds` for all of it; without `tls`, in plaintext.

    **Concurrency:** one thread; blocking.
    """

    endpoint: str
    timeout_seconds: float
    tls: ClientTls | None = None

    def predict(
        self, route: Route, signature: str, inputs: Mapping[str, Json]
    ) -> tuple[dict[str, Array], str, int]:
        """Return outputs, model and version.

        Raises:
            InvalidArgument: an input's value does not fit the signature's dtype, or a TLS file
                cannot be read.
            InferenceFailed: the node refused, or did not answer in time.
        """
        deadline = time.monotonic() + self.timeout_seconds
        spec = ModelSpec(name=route.model, signature_name=signature)
        if route.version is not None:
            spec.version.CopyFrom(Int64Value(value=route.version))
        elif route.label is not None:
            spec.version_label = route.label
        with self._channel() as channel:
            dtypes = self._dtypes(channel, spec, deadline)
            request = PredictRequest(model_spec=spec)
            for alias, value in inputs.items():
                array = to_array(alias, value, dtypes.get(alias))
                request.inputs[alias].MergeFromString(encode_tensor_proto(alias, array))
            response = self._call(channel, "Predict", request, PredictResponse, deadline)
        outputs = {alias: from_tensor_proto(proto) for alias, proto in response.outputs.items()}
        return outputs, response.model_spec.name, response.model_spec.version.value

    def _channel(self) -> grpc.Channel:
        options = [
            ("grpc.max_receive_message_length", _UNLIMITED),
            ("grpc.max_send_message_length", _UNLIMITED),
        ]
        if self.tls is None:
            return grpc.insecure_channel(self.endpoint, options=options)
        return grpc.secure_channel(self.endpoint, self.tls.credentials(), options=options)

    def _dtypes(
        self, channel: grpc.Channel, spec: ModelSpec, deadline: float
    ) -> dict[str, np.dtype[Any]]:
        """Return the dtype of each input of the signature; empty when there is no such signature.

        The refusal of an unknown signature or input is the node's, in its own words.
        """
        request = GetModelMetadataRequest(model_spec=spec, metadata_field=[_SIGNATURES])
        response = self._call(
            channel, "GetModelMetadata", request, GetModelMetadataResponse, deadline
        )
        signatures = SignatureDefMap.FromString(response.metadata[_SIGNATURES].value)
        wanted = signatures.signature_def.get(spec.signature_name or DEFAULT_SIGNATURE)
        if wanted is None:
            return {}
        return {alias: _dtype(alias, info.dtype) for alias, info in wanted.inputs.items()}

    def _call(
        self,
        channel: grpc.Channel,
        method: str,
        request: Message,
        response_type: type[ResponseT],
        deadline: float,
    ) -> ResponseT:
        call: grpc.UnaryUnaryMultiCallable[Message, ResponseT] = channel.unary_unary(
            _SERVICE + method,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response_type.FromString,
        )
        left = max(0.0, deadline - time.monotonic())
        try:
            response: ResponseT = call(request, timeout=left)
        except grpc.RpcError as error:
            raise self._failure(error) from error
        return response

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


def _dtype(alias: str, number: DataType) -> np.dtype[Any]:
    """Return numpy's dtype for TensorFlow's: that of an empty tensor."""
    empty = TensorProto(
        dtype=number, tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=0)])
    )
    try:
        return from_tensor_proto(empty).dtype
    except ValueError as error:
        raise InvalidArgument(f"input {alias!r} cannot be written as JSON: {error}") from error
