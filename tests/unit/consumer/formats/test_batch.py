"""Batches: joined or alone, every call gets the answer that it would get alone."""

from __future__ import annotations

import time

import numpy as np
import pytest

from headrace.consumer.core.calls import Calls, Encoding, Fault
from headrace.consumer.core.codes import Code
from headrace.protos.tensorflow_pb2 import DataType
from headrace.protos.tensorflow_serving_pb2 import PredictRequest
from tests.unit.consumer.formats.arithmetic import Arithmetic
from tests.unit.consumer.formats.calling import (
    FAR,
    answers,
    fault,
    make_batcher,
    make_call,
    rows,
    values,
)


def test_joins_requests_into_one_run() -> None:
    """Requests of equal form run once, and each gets its own rows."""
    model = Arithmetic()
    result = answers(make_batcher(model), [make_call(rows(n, start=10 * n)) for n in (1, 2, 3)])
    assert model.runs == [6]
    for n, answer in zip((1, 2, 3), result, strict=True):
        np.testing.assert_array_equal(values(answer)["sum"], rows(n, start=10 * n)["a"] + 1)


def test_a_run_has_at_most_max_rows() -> None:
    """Rows are counted, not requests; one request that brings more runs alone."""
    model = Arithmetic()
    answers(make_batcher(model, 4), [make_call(rows(n)) for n in (2, 2, 1, 1, 9, 1, 0)])
    assert model.runs == [4, 3, 9]


def test_requests_decoded_together_are_cut_where_a_run_is_full() -> None:
    """What differs in values only is still split into runs of `max_rows`, and loses nothing."""
    model = Arithmetic()
    sent = [rows(1, start=10 * n) for n in range(7)]
    result = answers(make_batcher(model, 3), [make_call(x) for x in sent])
    assert model.runs == [3, 3, 1]
    for x, answer in zip(sent, result, strict=True):
        np.testing.assert_array_equal(values(answer)["sum"], x["a"] + 1)


def test_max_rows_of_one_joins_nothing() -> None:
    """With `max_rows` 1 every request runs by itself."""
    model = Arithmetic()
    answers(make_batcher(model, 1), [make_call(rows(1)) for _ in range(3)])
    assert model.runs == [1, 1, 1]


def test_only_requests_of_one_form_are_joined() -> None:
    """Another width, another filter or another signature makes another run."""
    model = Arithmetic()
    calls = [
        make_call(rows(1)),
        make_call(rows(1, width=2)),
        make_call(rows(1), output_filter=["sum"]),
        make_call({"a": np.ones(1, np.float32)}, "shrinking"),
        make_call(rows(1)),
    ]
    answers(make_batcher(model), calls)
    assert sorted(model.runs) == [1, 1, 1, 2]


def test_what_declares_no_rows_is_never_joined() -> None:
    """Scalar outputs and fixed shapes are answered request by request."""
    model = Arithmetic()
    total = make_call({"a": np.ones(2, np.float32)}, "total")
    fixed = make_call({"a": np.arange(3)}, "fixed")
    result = answers(make_batcher(model), [total, fixed, total, fixed])
    assert len(model.runs) == 4
    assert values(result[0])["total"] == 2.0
    assert values(result[3])["a"].tolist() == [0, 1, 2]


def test_another_rank_than_declared_runs_alone() -> None:
    """The first dimension of another rank need not be the batch."""
    model = Arithmetic()
    odd = make_call({"a": np.ones((2, 2), np.float32)}, "shrinking")
    answers(make_batcher(model), [odd, odd])
    assert model.runs == [2, 2]


def test_a_failing_member_fails_alone() -> None:
    """The run is repeated member by member, once."""
    model = Arithmetic()
    bad = rows(1)
    bad["a"][0, 0] = np.nan
    result = answers(make_batcher(model), [make_call(x) for x in (rows(1), bad, rows(2))])
    assert [isinstance(answer, Fault) for answer in result] == [False, True, False]
    assert result[1] == Fault(Code.INTERNAL, "there is a NaN")
    assert model.runs == [4, 1, 1, 2]


def test_outputs_without_the_promised_rows_are_taken_apart() -> None:
    """A graph that gives other rows than promised is run for each request alone."""
    model = Arithmetic()
    inputs = [np.array(x, np.float32) for x in ([1, -1], [2], [-3])]
    result = answers(make_batcher(model), [make_call({"a": a}, "shrinking") for a in inputs])
    assert [values(answer)["y"].tolist() for answer in result] == [[1], [2], []]
    assert model.runs == [4, 2, 1, 1]


def test_defaults_fill_what_a_request_leaves_out() -> None:
    """An input with a default may be missing."""
    model = Arithmetic()
    a = np.ones(2, np.float32)
    result = answers(
        make_batcher(model),
        [
            make_call({"a": a}, "defaulted"),
            make_call({"a": a, "b": np.array(5, np.float32)}, "defaulted"),
        ],
    )
    assert [values(answer)["y"].tolist() for answer in result] == [[2, 2], [6, 6]]


def test_expired_calls_do_not_reach_the_model() -> None:
    """What has expired is refused before anything is decoded."""
    model = Arithmetic()
    [expired, alive] = answers(
        make_batcher(model),
        [Calls(Encoding.AVRO, [b"garbage"], [time.monotonic() - 1]), make_call(rows(1))],
    )
    assert fault(expired).code is Code.DEADLINE_EXCEEDED
    assert values(alive)


def test_what_expires_while_others_run_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run looks at the deadlines of its members again, and the others still get theirs."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def pass_time() -> None:
        nonlocal now
        now += 10

    model = Arithmetic()
    model.before_run = pass_time
    calls = [
        make_call({"a": np.ones(1, np.float32)}, "total", deadline=105),
        make_call(rows(1), deadline=105),
        make_call(rows(1), deadline=200),
    ]
    result = answers(make_batcher(model), calls)
    assert fault(result[1]).code is Code.DEADLINE_EXCEEDED
    assert values(result[0])
    assert values(result[2])
    assert len(model.runs) == 2


def test_the_latest_deadline_bounds_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch may run until its last member expires; without deadlines there is no bound."""
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    model = Arithmetic()
    batcher = make_batcher(model)
    answers(batcher, [make_call(rows(1), deadline=d) for d in (101, 103, 102)])
    answers(batcher, [make_call(rows(1), deadline=d) for d in (101, FAR)])
    assert model.timeouts == [3.0, None]


def test_decoded_requests_are_run_before_they_fill_the_memory() -> None:
    """A frame of requests that stand for more than they carry is run in parts."""
    request = PredictRequest()
    request.inputs["a"].dtype = request.inputs["b"].dtype = DataType.DT_FLOAT
    for alias, width in (("a", 2), ("b", 2**12)):
        for size in (2**11, width):
            request.inputs[alias].tensor_shape.dim.add(size=size)
    model = Arithmetic()
    call = Calls(Encoding.TENSORFLOW_SERVING, [request.SerializeToString()] * 16, [FAR] * 16)
    found = answers(make_batcher(model, max_rows=2**20), [call])
    assert all(isinstance(answer, bytes) for answer in found)
    assert model.runs == [8 * 2**11, 8 * 2**11]
