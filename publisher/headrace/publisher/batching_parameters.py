"""TensorFlow Serving's batching parameters file, read as rules of ours.

A parameter that the file leaves out has TensorFlow Serving's default, so that a model is batched
as it was there. What has no counterpart is named, not dropped in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf import text_format

from headrace.protos.batching_parameters_pb2 import BatchingParameters
from headrace.publisher.errors import InvalidArgument
from headrace.schemas.records import Batching, LargeRequests

_DEFAULT_MAX_BATCH_SIZE: Final = 1000
"""Source: tensorflow/core/kernels/batching_util/shared_batch_scheduler.h, 2.20."""

_IGNORED: Final = {
    "max_enqueued_batches": "the node's --max-queue-calls bounds a version's queue",
    "num_batch_threads": "a worker runs one batch at a time; --replicas sets how many workers",
    "thread_pool_name": "there is no such pool",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignBatching:
    """What a parameters file asks for; `ignored` has the reason for each parameter left out."""

    batching: Batching
    ignored: dict[str, str]


def read(path: Path) -> ForeignBatching:
    """Return the rules that the file at `path` has.

    A request of more rows than the file allows was refused there, and is here.

    Raises:
        InvalidArgument: there is no such file, or it holds something else.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"cannot read batching parameters from {path}: {error}") from error
    try:
        parameters = text_format.Parse(text, BatchingParameters())
    except text_format.ParseError as error:
        raise InvalidArgument(
            f"{path} is no text-format BatchingParameters as TensorFlow Serving reads it: {error}"
        ) from error
    return ForeignBatching(
        batching=_batching(parameters),
        ignored={name: why for name, why in _IGNORED.items() if parameters.HasField(name)},
    )


def _batching(parameters: BatchingParameters) -> Batching:
    max_rows = _DEFAULT_MAX_BATCH_SIZE
    if parameters.HasField("max_batch_size"):
        max_rows = parameters.max_batch_size.value
    is_split = parameters.enable_large_batch_splitting.value
    if is_split and parameters.HasField("max_execution_batch_size"):
        max_rows = parameters.max_execution_batch_size.value
    return Batching(
        max_rows=max_rows,
        timeout_micros=parameters.batch_timeout_micros.value,
        allowed_rows=tuple(parameters.allowed_batch_sizes),
        pads_variable_length=parameters.pad_variable_length_inputs,
        large_requests=LargeRequests.SPLIT if is_split else LargeRequests.REFUSE,
    )
