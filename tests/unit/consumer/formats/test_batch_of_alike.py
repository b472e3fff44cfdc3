"""Requests decoded as one are still requests of their own: each expires and fails alone."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.consumer.core.calls import Calls, Encoding, Fault
from headrace.consumer.formats.avro import Avro
from headrace.consumer.formats.batch import Batcher
from headrace.consumer.formats.ordinary import Ordinary
from headrace.protos.tensorflow_serving_pb2 import PredictResponse
from headrace.schemas.records import Batching
from tests.unit.consumer.formats import payloads
from tests.unit.consumer.formats.arithmetic import Arithmetic
from tests.unit.consumer.formats.calling import FAR, answers, make_batcher, make_call, rows, values
from tests.unit.consumer.formats.payloads import Form


def test_one_of_many_alike_fails_alone() -> None:
    """Requests decoded as one are run one by one when one of them makes the run fail."""
    model = Arithmetic()
    sent = [rows(2, start=10 * n) for n in range(6)]
    sent[3]["a"][0, 0] = np.nan
    result = answers(make_batcher(model), [make_call(x) for x in sent])
    assert [place for place, answer in enumerate(result) if isinstance(answer, Fault)] == [3]
    assert model.runs == [12, *[2] * 6]


def test_many_alike_that_declare_no_rows_run_one_by_one() -> None:
    """What is decoded as one is not joined for that; a default stands in for each."""
    model = Arithmetic()
    totals = [make_call({"a": np.full(2, n, np.float32)}, "total") for n in range(5)]
    halves = [make_call({"a": np.full(2, n, np.float32)}, "defaulted") for n in range(5)]
    result = answers(make_batcher(model), [*totals, *halves])
    assert model.runs == [2] * 10
    assert [float(values(answer)["total"]) for answer in result[:5]] == [0, 2, 4, 6, 8]
    assert [values(answer)["y"].tolist() for answer in result[5:]] == [
        [n + 1] * 2 for n in range(5)
    ]


def test_expired_requests_are_taken_out_of_those_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests decoded as one expire one by one, before the frame is read and while others run."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def pass_time() -> None:
        nonlocal now
        now += 10

    model = Arithmetic()
    model.before_run = pass_time
    sent = [rows(1, start=10 * n) for n in range(7)]
    deadlines = [99, 105, 200, 105, 200, 200, 99]
    encoded = [make_call(x).payloads[0] for x in sent]
    first = make_call({"a": np.ones(1, np.float32)}, "total")
    result = answers(make_batcher(model), [first, Calls(Encoding.AVRO, encoded, deadlines)])
    failed = [place for place, answer in enumerate(result[1:]) if isinstance(answer, Fault)]
    assert failed == [0, 1, 3, 6]
    for place in (2, 4, 5):
        np.testing.assert_array_equal(values(result[1 + place])["sum"], sent[place]["a"] + 1)


def test_answers_to_all_alike_come_as_one() -> None:
    """Whoever reads the answers of a frame of equal requests need not look at their places."""
    encoded = [make_call(rows(1, start=n)).payloads[0] for n in range(20)]
    calls = Calls(Encoding.AVRO, encoded, [FAR] * 20)
    [answered] = make_batcher(Arithmetic()).answer([calls])
    assert answered.positions == range(20)


def test_encodings_share_a_run_and_answer_alike() -> None:
    """Requests in two encodings run as one, and each is answered in its own."""
    model = Arithmetic()
    form = Form("", {"a": (np.dtype(np.float32), (1, 2)), "b": (np.dtype(np.float32), (1, 1))})
    avro = [payloads.avro(form, 0)] * 5
    predict = [payloads.packed_predict(form, 0)] * 5
    result = answers(
        make_batcher(model),
        [
            Calls(Encoding.AVRO, avro, [FAR] * 5),
            Calls(Encoding.TENSORFLOW_SERVING, predict, [FAR] * 5),
        ],
    )
    assert model.runs == [10]
    assert values(result[4])["sum"].shape == (1, 2)
    last = result[9]
    assert isinstance(last, bytes)
    assert set(PredictResponse.FromString(last).outputs) == {"sum", "first"}


KINDS = ["rows", "rows", "nan", "total", "text", "shrink", "fixed"]


@st.composite
def some_calls(draw: st.DrawFn) -> list[Calls]:
    """Calls of all kinds, good and bad, often many of one kind."""
    calls: list[Calls] = []
    for _ in range(draw(st.integers(0, 6))):
        kind, n = draw(st.sampled_from(KINDS)), draw(st.integers(0, 4))
        width = draw(st.integers(1, 2))
        sent = [
            _request(kind, n, width, draw(st.integers(-3, 3)))
            for _ in range(draw(st.integers(1, 8)))
        ]
        calls.append(Calls(Encoding.AVRO, sent, [FAR] * len(sent)))
    return calls


def _request(kind: str, n: int, width: int, value: int) -> bytes:
    vector = np.full(n, value, np.float32)
    match kind:
        case "rows":
            call = make_call(rows(n, width, value))
        case "nan":
            # Some of many alike make a run fail.
            a = np.full((n, 2), np.nan if value < 0 else value, np.float32)
            call = make_call({**rows(n), "a": a})
        case "total":
            call = make_call({"a": vector}, "total")
        case "text":
            call = make_call({"a": np.array([b"x"] * n, object)}, "text")
        case "shrink":
            call = make_call({"a": vector}, "shrinking")
        case _:
            call = make_call({"a": np.full(3, value, np.float32)}, "fixed")
    return call.payloads[0]


@settings(deadline=None, max_examples=150)
@given(calls=some_calls(), max_rows=st.integers(1, 12))
def test_joined_is_as_alone(calls: list[Calls], max_rows: int) -> None:
    """Whatever comes together is answered as if it had come alone, by the ordinary path."""
    together = answers(make_batcher(Arithmetic(), max_rows), calls)
    formats = {Encoding.AVRO: Ordinary(Avro("m", 7))}
    ordinary = Batcher(Arithmetic(), formats, Batching(max_rows=max_rows))
    alone = [
        answers(ordinary, [Calls(Encoding.AVRO, [payload], [FAR])])[0]
        for each in calls
        for payload in each.payloads
    ]
    assert together == alone
