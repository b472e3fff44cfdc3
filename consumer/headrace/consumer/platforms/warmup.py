"""Requests recorded with a model, to be run before it serves.

Reads TensorFlow Serving's recording, `PredictionLog` messages; how they are stored in a file is
the platform's business. Recorded requests become calls that take the same path as any request;
records of other kinds (sessions, streams) are counted and not run. What comes after the first 1,000
is not read.

Source: tensorflow_serving/servables/tensorflow/saved_model_warmup_util.cc, 2.20.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from google.protobuf.message import DecodeError, Message

from headrace.consumer.core.calls import METHODS, Calls, Encoding
from headrace.consumer.core.codes import Code
from headrace.consumer.platforms.platform import PlatformError
from headrace.protos.tensorflow_serving_pb2 import (
    MultiInferenceRequest,
    PredictionLog,
    RegressionRequest,
)

MAX_RECORDS: Final = 1000


def calls(records: Iterable[bytes]) -> Iterator[Calls | None]:
    """Yield the calls of each recorded request, and None for each record of another kind.

    A record of several tasks is a call for each.

    Raises:
        PlatformError: a record is no `PredictionLog` (DATA_LOSS).
    """
    for number, record in enumerate(islice(records, MAX_RECORDS), start=1):
        try:
            log = PredictionLog.FromString(record)
        except DecodeError as error:
            raise PlatformError(
                Code.DATA_LOSS, f"warm-up record {number} is not a PredictionLog: {error}"
            ) from error
        match log.WhichOneof("log_type"):
            case "predict_log":
                yield _call(Encoding.TENSORFLOW_SERVING, log.predict_log.request)
            case "classify_log":
                yield _call(Encoding.CLASSIFICATION, log.classify_log.request)
            case "regress_log":
                yield _call(Encoding.REGRESSION, log.regress_log.request)
            case "multi_inference_log":
                yield from _tasks(log.multi_inference_log.request)
            case _:
                yield None


def _tasks(request: MultiInferenceRequest) -> Iterator[Calls | None]:
    for task in request.tasks:
        encoding = METHODS.get(task.method_name)
        # Both requests of a task have the same fields.
        alone = RegressionRequest(model_spec=task.model_spec, input=request.input)
        yield None if encoding is None else _call(encoding, alone)


def _call(encoding: Encoding, request: Message) -> Calls:
    return Calls(encoding, [request.SerializeToString()], [math.inf])
