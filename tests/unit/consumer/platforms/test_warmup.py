"""Recorded requests: which become calls."""

from __future__ import annotations

import pytest

from headrace.consumer.core.calls import Encoding
from headrace.consumer.core.codes import Code
from headrace.consumer.platforms import warmup
from headrace.consumer.platforms.platform import PlatformError
from headrace.protos.tensorflow_serving_pb2 import (
    ModelSpec,
    PredictionLog,
    PredictLog,
    PredictRequest,
)

REQUEST = PredictRequest(model_spec=ModelSpec(name="m"))
RECORD = PredictionLog(predict_log=PredictLog(request=REQUEST)).SerializeToString()


def test_predictions_become_calls_without_a_deadline() -> None:
    """A recorded prediction is the request that was recorded."""
    [call] = warmup.calls([RECORD])
    assert call is not None
    assert (call.encoding, call.payloads) == (
        Encoding.TENSORFLOW_SERVING,
        [REQUEST.SerializeToString()],
    )
    assert call.deadlines_seconds == [float("inf")]


def test_other_kinds_are_passed_over() -> None:
    """What is no prediction is counted, not run: field 3 is a regression."""
    assert list(warmup.calls([b"\x1a\x00", b""])) == [None, None]


def test_reads_no_more_than_a_thousand() -> None:
    """The rest of a long recording is not read."""
    assert len(list(warmup.calls([RECORD] * 1001))) == warmup.MAX_RECORDS


def test_other_bytes_are_data_loss() -> None:
    """A record that is no message fails the load, and says which it was."""
    calls = warmup.calls([RECORD, b"\xff\xff"])
    next(calls)
    with pytest.raises(PlatformError, match="warm-up record 2 is not a PredictionLog") as caught:
        next(calls)
    assert caught.value.code is Code.DATA_LOSS
