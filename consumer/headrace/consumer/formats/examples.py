"""The messages of the Classify and Regress calls of TensorFlow Serving, in protobuf's wire format.

Examples are not decoded: they go to the model as they came, behind the bytes of the context if
there is one, which is how protobuf merges messages.

Source: tensorflow_serving/servables/tensorflow/util.cc (`InputToSerializedExampleTensor`), 2.20.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import Int64Value

from headrace.consumer.core.errors import InvalidRequest, UnreadableRequest
from headrace.consumer.formats.methods import INPUTS, Method
from headrace.consumer.formats.request import InferRequest
from headrace.consumer.formats.wire import delimited
from headrace.consumer.platforms.platform import Array, Signature
from headrace.protos.routing_pb2 import ExamplesRequest, ResultResponse
from headrace.protos.tensorflow_serving_pb2 import ModelSpec
from headrace.schemas.records import DEFAULT_SIGNATURE

MAX_CONTEXTS_BYTES: Final = 1 << 26
"""Of the copies of a context: a message of a few KB must not become gigabytes."""


class Examples:
    """The messages of one method, for one version of a model with these signatures.

    **Concurrency:** one caller at a time.
    """

    def __init__(
        self, method: Method, model: str, version: int, signatures: Mapping[str, Signature]
    ) -> None:
        self._method = method
        self._model = model
        self._version = version
        self._signatures = signatures
        self._specs: dict[str, bytes] = {}

    def read(self, payload: bytes) -> InferRequest | InvalidRequest:
        """Return the request in a message of the method; see `ordinary.Codec`."""
        try:
            message = ExamplesRequest.FromString(payload)
            return request_for(
                self._method,
                self._signatures,
                message.model_spec.signature_name,
                _examples(message.input),
            )
        except DecodeError as error:
            return UnreadableRequest(f"not a {self._method.request}: {error}")
        except InvalidRequest as error:
            return error

    def write(self, signature: str, outputs: Mapping[str, Array], style: Hashable) -> bytes:
        """Return a response of the method; see `ordinary.Codec`. The style counts the examples."""
        assert isinstance(style, int)
        result = delimited(1, self._method.result(outputs, style))
        return result + (self._specs.get(signature) or self._spec(signature))

    def _spec(self, signature: str) -> bytes:
        """Return the encoded model_spec, which every answer of a signature ends with."""
        spec = ModelSpec(
            name=self._model, version=Int64Value(value=self._version), signature_name=signature
        )
        encoded = ResultResponse(model_spec=spec).SerializeToString()
        self._specs[signature] = encoded
        return encoded


def request_for(
    method: Method, signatures: Mapping[str, Signature], name: str, examples: Sequence[bytes]
) -> InferRequest:
    """Return the request that gives serialised examples to the signature of that name.

    Its style is the number of examples.

    Raises:
        InvalidRequest: there is no such signature, or it is none for the method, or no example.
    """
    name = name or DEFAULT_SIGNATURE
    signature = signatures.get(name)
    if signature is None:
        raise InvalidRequest(
            f"No signature was found with the name: {name}; the model has: "
            f"{', '.join(sorted(signatures)) or 'none'}"
        )
    outputs = method.outputs(signature)
    if not examples:
        raise InvalidRequest("Input is empty; give one example at least")
    rows = np.empty(len(examples), object)
    rows[:] = examples
    return InferRequest(name, {INPUTS: rows}, outputs, len(examples))


def _examples(message: ExamplesRequest.Input) -> Sequence[bytes]:
    if message.WhichOneof("kind") != "example_list_with_context":
        return message.example_list.examples
    listed = message.example_list_with_context
    check_context(listed.context, len(listed.examples))
    return [listed.context + example for example in listed.examples]


def check_context(context: bytes, count: int) -> None:
    """Refuse a context that is too large for the number of its examples, each of which repeats it.

    Raises:
        InvalidRequest: so many copies of it are too large.
    """
    if len(context) * count > MAX_CONTEXTS_BYTES:
        raise InvalidRequest(
            f"the context has {len(context)} bytes for each of {count} examples; all together "
            f"have {MAX_CONTEXTS_BYTES} at most: send fewer examples at once"
        )
