"""Recorded requests: which become calls."""

from __future__ import annotations

import pytest

from headrace.consumer.core.calls import Calls, Encoding
from headrace.consumer.core.codes import Code
from headrace.consumer.platforms import warmup
from headrace.consumer.platforms.platform import PlatformError
from headrace.protos.tensorflow_serving_pb2 import (
    ClassificationRequest,
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


def test_classifications_and_regressions_become_calls() -> None:
    """Each in its own encoding, with the bytes that were recorded."""
    classify, regress = PredictionLog(), PredictionLog()
    classify.classify_log.request.model_spec.name = "c"
    regress.regress_log.request.model_spec.name = "r"
    assert list(warmup.calls([classify.SerializeToString(), regress.SerializeToString()])) == [
        Calls(
            Encoding.CLASSIFICATION,
            [classify.classify_log.request.SerializeToString()],
            [float("inf")],
        ),
        Calls(
            Encoding.REGRESSION,
            [regress.regress_log.request.SerializeToString()],
            [float("inf")],
        ),
    ]


def test_several_tasks_become_several_calls() -> None:
    """Each with the input of all; a task of another kind is counted, not run."""
    log = PredictionLog()
    request = log.multi_inference_log.request
    request.input.example_list.examples.add()
    request.tasks.add(method_name="tensorflow/serving/regress").model_spec.signature_name = "r"
    request.tasks.add(method_name="tensorflow/serving/predict")
    request.tasks.add(method_name="tensorflow/serving/classify").model_spec.signature_name = "c"
    regress, none, classify = warmup.calls([log.SerializeToString()])
    assert regress is not None
    assert none is None
    assert classify is not None
    assert (regress.encoding, classify.encoding) == (Encoding.REGRESSION, Encoding.CLASSIFICATION)
    for call, name in ((regress, "r"), (classify, "c")):
        alone = ClassificationRequest.FromString(call.payloads[0])
        assert (alone.model_spec.signature_name, alone.input) == (name, request.input)


def test_other_kinds_are_passed_over() -> None:
    """Sessions and streams (fields 5 and 7) and what says nothing are counted, not run."""
    assert list(warmup.calls([b"\x2a\x00", b"\x3a\x00", b""])) == [None, None, None]


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
