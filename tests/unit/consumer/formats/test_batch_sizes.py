"""Runs of allowed sizes, and requests larger than a run may be."""

from __future__ import annotations

import time

import numpy as np
import pytest

from headrace.consumer.core.calls import Fault
from headrace.consumer.core.codes import Code
from headrace.schemas.records import Batching, LargeRequests
from tests.unit.consumer.formats.arithmetic import Arithmetic
from tests.unit.consumer.formats.calling import (
    answers,
    fault,
    make_batcher,
    make_call,
    rows,
    values,
)

SIZES = Batching(max_rows=8, allowed_rows=(1, 4, 8))
SPLIT = Batching(max_rows=4, large_requests=LargeRequests.SPLIT)
REFUSE = Batching(max_rows=4, large_requests=LargeRequests.REFUSE)


@pytest.mark.parametrize(
    ("sent", "runs"),
    [([1], [1]), ([3], [4]), ([1, 2], [4]), ([4], [4]), ([3, 4, 2], [8, 4]), ([0], [0])],
)
def test_runs_have_allowed_sizes(sent: list[int], runs: list[int]) -> None:
    """A run is filled up to the next allowed size, and what filled it is in no answer."""
    model = Arithmetic()
    result = answers(make_batcher(model, rules=SIZES), [make_call(rows(n)) for n in sent])
    assert model.runs == runs
    for n, answer in zip(sent, result, strict=True):
        np.testing.assert_array_equal(values(answer)["sum"], rows(n)["a"] + 1)
        assert values(answer)["first"].shape == (n,)


def test_a_request_larger_than_every_allowed_size_runs_as_it_is() -> None:
    """Unless the rules have it split or refused."""
    model = Arithmetic()
    answers(make_batcher(model, rules=SIZES), [make_call(rows(9))])
    assert model.runs == [9]


def test_members_of_a_failed_run_are_filled_up_as_well() -> None:
    """Also alone, a request runs in a size that the model was made ready for."""
    model = Arithmetic()
    bad = rows(2)
    bad["a"][0, 0] = np.nan
    result = answers(make_batcher(model, rules=SIZES), [make_call(x) for x in (rows(2), bad)])
    assert [isinstance(answer, Fault) for answer in result] == [False, True]
    assert model.runs == [4, 4, 4]


def test_what_declares_no_rows_is_not_filled_up() -> None:
    """Only rows can be added to."""
    model = Arithmetic()
    answers(make_batcher(model, rules=SIZES), [make_call({"a": np.arange(3)}, "fixed")])
    assert model.runs == [3]


@pytest.mark.parametrize("rules", [SIZES, SPLIT])
def test_a_graph_that_gives_other_rows_than_promised_gets_the_request_itself(
    rules: Batching,
) -> None:
    """Its answer is what it gives for the request as it came."""
    model = Arithmetic()
    a = np.array([1, -1, 2, -2, 3], np.float32)
    [answer] = answers(make_batcher(model, rules=rules), [make_call({"a": a}, "shrinking")])
    assert values(answer)["y"].tolist() == [1, 2, 3]
    assert model.runs[-1] == 5


def test_a_large_request_is_split() -> None:
    """Its rows go through several runs, and come back as one answer; others are joined as ever."""
    model = Arithmetic()
    sent = [rows(1), rows(9, start=50), rows(2)]
    result = answers(make_batcher(model, rules=SPLIT), [make_call(x) for x in sent])
    assert sorted(model.runs) == [1, 1, 2, 4, 4]
    assert max(model.runs) <= SPLIT.max_rows
    for x, answer in zip(sent, result, strict=True):
        np.testing.assert_array_equal(values(answer)["sum"], x["a"] + 1)


def test_the_last_part_of_a_large_request_is_filled_up() -> None:
    """Parts have allowed sizes, too."""
    model = Arithmetic()
    rules = Batching(max_rows=4, allowed_rows=(2, 4), large_requests=LargeRequests.SPLIT)
    [answer] = answers(make_batcher(model, rules=rules), [make_call(rows(5))])
    assert model.runs == [4, 2]
    np.testing.assert_array_equal(values(answer)["sum"], rows(5)["a"] + 1)


def test_a_large_request_fails_with_any_of_its_parts() -> None:
    """It fails once, and alone."""
    model = Arithmetic()
    bad = rows(9)
    bad["a"][8, 0] = np.nan
    result = answers(make_batcher(model, rules=SPLIT), [make_call(x) for x in (bad, rows(1))])
    assert result[0] == Fault(Code.INTERNAL, "there is a NaN")
    assert values(result[1])


def test_a_large_request_stops_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts that are left then are not run."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def pass_time() -> None:
        nonlocal now
        now += 10

    model = Arithmetic()
    model.before_run = pass_time
    [answer] = answers(make_batcher(model, rules=SPLIT), [make_call(rows(16), deadline=115)])
    assert fault(answer).code is Code.DEADLINE_EXCEEDED
    assert model.runs == [4, 4]
    assert model.timeouts == [15.0, 5.0]


def test_a_large_request_is_refused() -> None:
    """In TensorFlow Serving's words; one that fits is answered, and so is what has no rows."""
    model = Arithmetic()
    fixed = make_call({"a": np.ones(9, np.float32)}, "total")
    calls = [make_call(rows(5)), make_call(rows(4)), fixed]
    result = answers(make_batcher(model, rules=REFUSE), calls)
    assert fault(result[0]).code is Code.INVALID_ARGUMENT
    assert "Task size 5 is larger than maximum input batch size 4" in fault(result[0]).message
    assert values(result[1])["sum"].shape == (4, 2)
    assert values(result[2])["total"] == 9


def test_inputs_that_disagree_in_rows_run_alone() -> None:
    """They are the model's to judge, whatever their size, and no neighbour is concerned."""
    model = Arithmetic()
    odd = {"a": np.ones((1, 2), np.float32), "b": np.ones((9, 1), np.float32)}
    result = answers(make_batcher(model, rules=REFUSE), [make_call(odd), make_call(rows(1))])
    assert model.runs == [1, 1]
    assert values(result[0])["sum"].shape == (9, 2)
    assert values(result[1])["sum"].shape == (1, 2)
