"""What counts as a difference between two answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from headrace.cli.replay.comparing import Comparer, Verdict
from headrace.consumer.stream.replaying import PastRequest
from headrace.protos.open_inference_pb2 import ModelInferResponse
from headrace.protos.tensorflow_pb2 import DataType
from headrace.protos.tensorflow_serving_pb2 import PredictResponse
from headrace.schemas.codec import encode
from headrace.schemas.records import InferenceResponse
from headrace.schemas.tensors import to_tensor

NAN, INF = float("nan"), float("inf")


def record(value: bytes, version: int, **headers: bytes) -> PastRequest:
    """Return an answer as a consumer hands it out."""
    named = [(name.replace("_", "-"), raw) for name, raw in headers.items()]
    return PastRequest("t", 0, 0, 0, None, value, [("version", b"%d" % version), *named])


def answer(version: int, **outputs: npt.ArrayLike) -> PastRequest:
    """Return an answer in Avro."""
    tensors = tuple(to_tensor(name, array) for name, array in outputs.items())
    return record(encode(InferenceResponse(model="m", version=version, outputs=tensors)), version)


def f32(*numbers: float) -> npt.NDArray[np.float32]:
    return np.array(numbers, np.float32)


@pytest.mark.parametrize(
    ("then", "now", "tolerance", "verdict"),
    [
        ({"y": f32(1, 2)}, {"y": f32(1, 2)}, 0, Verdict.SAME),
        ({"y": f32(1, NAN, INF)}, {"y": f32(1, NAN, INF)}, 0, Verdict.SAME),
        ({"y": f32(0.0)}, {"y": f32(-0.0)}, 0, Verdict.SAME),
        ({"y": f32(1, 2)}, {"y": f32(1, 2.5)}, 0, Verdict.DIFFERENT),
        ({"y": f32(1, 2)}, {"y": f32(1, 2.5)}, 0.5, Verdict.WITHIN),
        ({"y": f32(1000)}, {"y": f32(1001)}, 0.01, Verdict.WITHIN),
        ({"y": f32(1000, 1)}, {"y": f32(1001, 2)}, 0.01, Verdict.DIFFERENT),
        ({"y": f32(NAN, 1)}, {"y": f32(NAN, 1.1)}, 0.5, Verdict.WITHIN),
        ({"y": f32(1)}, {"y": f32(NAN)}, 9, Verdict.DIFFERENT),
        ({"y": f32(1)}, {"y": f32(INF)}, 9, Verdict.DIFFERENT),
        ({"y": f32(1)}, {"y": f32(1, 1)}, 9, Verdict.DIFFERENT),
        ({"y": f32(1)}, {"y": np.array([1.0])}, 9, Verdict.DIFFERENT),
        ({"y": f32(1)}, {"z": f32(1)}, 9, Verdict.DIFFERENT),
        ({"y": [b"a", b"b"]}, {"y": [b"a", b"b"]}, 0, Verdict.SAME),
        ({"y": [b"a", b"b"]}, {"y": [b"a", b"c"]}, 9, Verdict.DIFFERENT),
        ({"y": np.array([2**60])}, {"y": np.array([2**60 + 1])}, 0, Verdict.DIFFERENT),
        ({"y": np.array([True])}, {"y": np.array([False])}, 0, Verdict.DIFFERENT),
        ({"a": f32(1), "b": f32(2)}, {"b": f32(2), "a": f32(1)}, 0, Verdict.SAME),
    ],
)
def test_compares_outputs_as_numbers(
    then: dict[str, Any], now: dict[str, Any], tolerance: float, verdict: Verdict
) -> None:
    """Absolutely or relatively near is near; what is no number is equal or not."""
    compared = Comparer("m", tolerance).compare(answer(1, **then), answer(2, **now))
    assert compared.verdict is verdict
    assert bool(compared.differences) is (verdict is not Verdict.SAME)


def test_tells_the_worst_output_first() -> None:
    """Largest absolute and relative difference, by output."""
    then, now = answer(1, a=f32(4, 1), b=f32(10)), answer(2, a=f32(5, 1), b=f32(13))
    b, a = Comparer("m", 0).compare(then, now).differences
    assert (b.output, b.absolute) == ("b", 3)
    assert (a.output, a.absolute, a.relative) == ("a", 1, 0.2)
    assert a.words == "1 of 2 elements differ"


@pytest.mark.parametrize(
    ("then", "now", "verdict"),
    [
        ("INTERNAL", "INTERNAL", Verdict.SAME),
        ("INTERNAL", "NOT_FOUND", Verdict.DIFFERENT),
        ("INTERNAL", "", Verdict.ERROR_THEN),
        ("", "INTERNAL", Verdict.ERROR_NOW),
    ],
)
def test_compares_errors_by_their_codes(then: str, now: str, verdict: Verdict) -> None:
    """Whatever the encoding: the header says the code."""
    records = [record(b"?", 1, **({"error_code": c.encode()} if c else {})) for c in (then, now)]
    assert Comparer("m", 0).compare(*records).verdict is verdict


def test_compares_json_and_protobuf_answers_as_numbers_too() -> None:
    """By their content types."""
    kind = b"application/json"
    then = record(b'{"predictions": [{"y": 1.0}, {"y": 2.0}]}', 1, content_type=kind)
    now = record(b'{"predictions": [{"y": 1.0}, {"y": 2.5}]}', 2, content_type=kind)
    assert Comparer("m", 0).compare(then, now).differences[0][:2] == ("y", 0.5)
    messages = [PredictResponse(), PredictResponse()]
    kind = b"application/x-protobuf;proto=tensorflow.serving.PredictResponse"
    for message, number in zip(messages, (1.0, 3.0), strict=True):
        message.outputs["y"].dtype = DataType.DT_FLOAT
        message.outputs["y"].tensor_shape.dim.add(size=1)
        message.outputs["y"].float_val.append(number)
    records = [record(m.SerializeToString(), 1, content_type=kind) for m in messages]
    assert Comparer("m", 0).compare(*records).differences[0][:2] == ("y", 2)


@pytest.mark.parametrize("is_raw", [True, False])
def test_compares_open_inference_answers_as_numbers_too(is_raw: bool) -> None:
    """Packed, or in typed fields."""
    kind = b"application/x-protobuf;proto=inference.ModelInferResponse"
    records: list[PastRequest] = []
    for number in (1.0, 3.0):
        message = ModelInferResponse(model_version=f"{number}")
        output = message.outputs.add(name="y", datatype="FP32", shape=[1])
        if is_raw:
            message.raw_output_contents.append(f32(number).tobytes())
        else:
            output.contents.fp32_contents.append(number)
        records.append(record(message.SerializeToString(), 1, content_type=kind))
    assert Comparer("m", 0).compare(*records).differences[0][:2] == ("y", 2)


def test_compares_other_values_byte_by_byte() -> None:
    """What cannot be decoded is the same, or is not."""
    records = [record(value, 1, content_type=b"x/y") for value in (b"a", b"a", b"b")]
    comparer = Comparer("m", 1)
    assert comparer.compare(*records[:2]).verdict is Verdict.SAME
    assert comparer.compare(*records[1:]).verdict is Verdict.DIFFERENT
    assert "compared by bytes" in comparer.compare(*records[1:]).differences[0].words
