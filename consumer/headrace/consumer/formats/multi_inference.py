"""A MultiInferenceRequest taken apart into one request for each task, and the answers joined.

For the door, so it knows messages and no arrays, and copies the input without reading it.

Source: tensorflow_serving/servables/tensorflow/multi_inference.cc and multi_inference_helper.cc,
2.20.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from google.protobuf.message import DecodeError

from headrace.consumer.core.calls import METHODS, Encoding
from headrace.consumer.core.errors import (
    InvalidRequest,
    MethodNotServed,
    RequestError,
    UnreadableRequest,
)
from headrace.consumer.formats.routes import route_of
from headrace.protos.routing_pb2 import InputRequest, ResultResponse, TasksRequest, TasksResponse
from headrace.protos.tensorflow_serving_pb2 import InferenceTask, ModelSpec, SignatureDefMap
from headrace.schemas.records import DEFAULT_SIGNATURE, Route


class Task(NamedTuple):
    """One task as a request of its own."""

    encoding: Encoding
    payload: bytes


def read_tasks(request: bytes) -> TasksRequest:
    """Return the message that the bytes hold.

    Raises:
        UnreadableRequest: they hold none.
    """
    try:
        return TasksRequest.FromString(request)
    except DecodeError as error:
        raise UnreadableRequest("the bytes of this request are no MultiInferenceRequest") from error


def first_route(message: TasksRequest) -> Route:
    """Return where a request goes: version and label of its first task are those of all.

    Raises:
        InvalidRequest: there is no task, or no model in the first.
    """
    if not message.tasks:
        raise InvalidRequest("MultiInferenceRequest has no tasks; give one at least")
    return route_of(message.tasks[0].model_spec)


def split(message: TasksRequest, signature_def: bytes) -> list[Task]:
    """Return the tasks as requests of their own, for a model with these signatures.

    Raises:
        InvalidRequest: a task has no model, another model, a signature that the model does not
            have, or the signature of another task.
        MethodNotServed: a task is neither to classify nor to regress.
    """
    model = message.tasks[0].model_spec.name
    known = _signature_names(signature_def)
    met: set[str] = set()
    tasks: list[Task] = []
    for task in message.tasks:
        # Before its payload is made: every payload holds the whole input, so there must not be
        # more of them than the model has signatures.
        name = _checked(task, model, known, met)
        met.add(name)
        spec = ModelSpec(name=model, signature_name=name)
        payload = InputRequest(model_spec=spec)
        if message.HasField("input"):
            payload.input = message.input
        tasks.append(Task(METHODS[task.method_name], payload.SerializeToString()))
    return tasks


def joined(tasks: Sequence[Task], answers: Sequence[bytes]) -> bytes:
    """Return the MultiInferenceResponse of the tasks' answers, in their order."""
    response = TasksResponse()
    for task, answer in zip(tasks, answers, strict=True):
        part = ResultResponse.FromString(answer)
        if task.encoding is Encoding.CLASSIFICATION:
            response.results.add(model_spec=part.model_spec, classification_result=part.result)
        else:
            response.results.add(model_spec=part.model_spec, regression_result=part.result)
    return response.SerializeToString()


def _checked(task: InferenceTask, model: str, known: frozenset[str], met: set[str]) -> str:
    """Return the signature of a task.

    Raises:
        RequestError: the task cannot be done.
    """
    spec = task.model_spec
    name = spec.signature_name or DEFAULT_SIGNATURE
    problem: RequestError | None = None
    if not spec.name:
        problem = InvalidRequest("Found ModelSpec with an empty model name.")
    elif spec.name != model:
        problem = InvalidRequest(
            "All ModelSpecs in a MultiInferenceRequest must access the same model name; found "
            f"{model} and {spec.name}"
        )
    elif name in met:
        problem = InvalidRequest(f"Duplicate evaluation of signature: {name}")
    elif name not in known:
        problem = InvalidRequest(
            f"Requested signature not found in model graph: {name}; the model has: "
            f"{', '.join(sorted(known)) or 'none'}"
        )
    elif task.method_name not in METHODS:
        problem = MethodNotServed(
            f"Unsupported signature method_name: {task.method_name or 'none'}; a task is one of: "
            f"{', '.join(METHODS)}"
        )
    if problem is not None:
        raise problem
    return name


@lru_cache(maxsize=256)
def _signature_names(signature_def: bytes) -> frozenset[str]:
    """Return the names in an encoded SignatureDefMap; those of a version are the same object."""
    return frozenset(SignatureDefMap.FromString(signature_def).signature_def)
