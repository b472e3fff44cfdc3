"""What a door reads of an encoded ModelInferRequest, and what it adds to the answer.

The head of a request is what comes before its tensors: model, version, id and parameters. A door
takes the id off and gives it back with the answer, so that requests that differ in nothing else but
their tensors are alike to the worker, which reads such requests all at once.

For the doors, so it knows messages and no arrays.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from headrace.consumer.core.calls import Fault
from headrace.consumer.core.errors import InvalidRequest, UnreadableRequest
from headrace.consumer.formats.routes import decode, read_infer_route
from headrace.consumer.formats.wire import delimited, end_of_field
from headrace.protos.open_inference_pb2 import (
    InferParameter,
    ModelInferResponse,
    ModelStreamInferResponse,
)
from headrace.protos.routing_pb2 import ModelInferHead
from headrace.schemas.records import Route

TIMEOUT_PARAMETER: Final = "timeout"
CODE_PARAMETER: Final = "headrace_code"

# The numbers of the fields of a head, all of them length-delimited.
_NAME, _VERSION, _ID, _PARAMETERS = 1, 2, 3, 4
_MICROSECONDS: Final = 1e-6
_MARKS: Final = {"triton_final_response": InferParameter(bool_param=True)}
_ENCODED_MARKS: Final = ModelInferResponse(parameters=_MARKS).SerializeToString()


class InferHead(NamedTuple):
    """The head of a request, and the request without its id.

    `id` is the encoded field, or nothing: an answer that follows it has that id.
    """

    route: Route
    id: bytes
    timeout_seconds: float | None
    payload: bytes


def read_infer_head(request: bytes) -> InferHead:
    """Return the head of an encoded `inference.ModelInferRequest`.

    Encoders write fields in the order of their numbers. Of a request whose id or parameters come
    elsewhere, the worker echoes the id, and the timeout is not seen.

    Raises:
        InvalidRequest: the request names no model, a version that cannot be one, or a timeout that
            is none.
        UnreadableRequest: the bytes are not a request.
    """
    route = read_infer_route(request)
    names = end_of_field(request, end_of_field(request, 0, _NAME), _VERSION)
    identified = end = end_of_field(request, names, _ID)
    while (after := end_of_field(request, end, _PARAMETERS)) > end:
        end = after
    if end > len(request):
        raise UnreadableRequest("the bytes of this request are not a ModelInferRequest")
    timeout_seconds = _timeout(request[identified:end]) if end > identified else None
    id_ = request[names:identified]
    # The worker checks that other letters are UTF-8.
    if not id_ or not id_.isascii():
        return InferHead(route, b"", timeout_seconds, request)
    return InferHead(route, id_, timeout_seconds, request[:names] + request[identified:])


def streamed(answer: bytes) -> bytes:
    """Return the `ModelStreamInferResponse` with an encoded `ModelInferResponse`.

    Source: triton-inference-server/server, src/grpc/stream_infer_handler.cc, 2.73: each answer of a
    model that gives one to a request is marked as the final one, whatever the request asks for.
    """
    return delimited(2, answer + _ENCODED_MARKS)


def refused_in_stream(request: bytes, fault: Fault) -> bytes:
    """Return the `ModelStreamInferResponse` that says what is wrong with a request, and with which.

    The message has no place for the code, which is a parameter of ours.

    Source: triton-inference-server/server, src/grpc/stream_infer_handler.cc, 2.73.
    """
    try:
        head = ModelInferHead.FromString(request)
    except DecodeError:
        head = ModelInferHead()
    response = ModelInferResponse(
        model_name=head.model_name,
        model_version=head.model_version,
        id=head.id,
        parameters={**_MARKS, CODE_PARAMETER: InferParameter(string_param=fault.code.name)},
    )
    return ModelStreamInferResponse(
        # Without a message a client takes it for an answer.
        error_message=fault.message or fault.code.name,
        infer_response=response,
    ).SerializeToString()


def _timeout(parameters: bytes) -> float | None:
    """Return the time that a request gives itself.

    Source: triton-inference-server/server, docs/protocol/extension_schedule_policy.md: a number of
    microseconds; 0 is none.
    """
    known = decode(ModelInferHead, parameters).parameters
    if TIMEOUT_PARAMETER not in known:
        return None
    timeout = known[TIMEOUT_PARAMETER]
    if timeout.WhichOneof("parameter_choice") != "int64_param" or timeout.int64_param < 0:
        raise InvalidRequest(
            f"parameter {TIMEOUT_PARAMETER} must be an int64_param of microseconds, 0 or more"
        )
    return timeout.int64_param * _MICROSECONDS or None
