"""Requests recorded with a model, to be run before it serves.

Reads TensorFlow Serving's recording, `PredictionLog` messages; how they are stored in a file is
the platform's business. Predictions become calls that take the same path as any request; records
of other kinds are counted and not run. What comes after the first 1,000 is not read.

Source: tensorflow_serving/servables/tensorflow/saved_model_warmup_util.cc, 2.20.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from google.protobuf.message import DecodeError

from headrace.consumer.core.calls import Calls, Encoding
from headrace.consumer.core.codes import Code
from headrace.consumer.platforms.platform import PlatformError
from headrace.protos.tensorflow_serving_pb2 import PredictionLog

MAX_RECORDS: Final = 1000


def calls(records: Iterable[bytes]) -> Iterator[Calls | None]:
    """Yield a call for each recorded prediction, and None for each record of another kind.

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
        if log.HasField("predict_log"):
            payload = log.predict_log.request.SerializeToString()
            yield Calls(Encoding.TENSORFLOW_SERVING, [payload], [math.inf])
        else:
            yield None
