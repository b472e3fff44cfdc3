"""Batches: joined or alone, every call gets the answer that it would get alone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.consumer.core.calls import Calls, Encoding, Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.formats.avro import Avro
from headrace.consumer.formats.batch import Batcher
from headrace.consumer.formats.request import Format
from headrace.consumer.formats.tensorflow_serving import TensorFlowServing
from headrace.consumer.formats.vectorised import Vectorised
from headrace.consumer.platforms.platform import Array
from headrace.schemas import codec
from headrace.schemas.records import InferenceRequest, InferenceResponse
from headrace.schemas.tensors import from_tensor, to_tensor
from tests.unit.consumer.formats.arithmetic import Arithmetic

FAR = float("inf")


def make_batcher(model: Arithmetic, max_rows: int = 1024) -> Batcher:
    """Return a batcher with both formats."""
    formats: dict[Encoding, Format] = {
        Encoding.AVRO: Vectorised(Avro("m", 7)),
        Encoding.TENSORFLOW_SERVING: Vectorised(TensorFlowServing("m", 7)),
    }
    return Batcher(model, formats, max_rows)


def make_call(
    inputs: Mapping[str, Array],
    signature: str = "",
    output_filter: Sequence[str] = (),
    deadline: float = FAR,
) -> Calls:
    """Return one request in Avro."""
    request = InferenceRequest(
        model="m",
        signature=signature,
        output_filter=tuple(output_filter),
        inputs=[to_tensor(alias, array) for alias, array in inputs.items()],
    )
    return Calls(Encoding.AVRO, [codec.encode(request)], [deadline])


def answers(batcher: Batcher, calls: Sequence[Calls]) -> list[bytes | Fault]:
    """Return all answers in the order of the calls, each there exactly once."""
    found: dict[int, bytes | Fault] = {}
    for part in batcher.answer(calls):
        assert len(part.positions) == len(part.payloads)
        assert part.faults.keys() <= set(range(len(part.payloads)))
        for index, position in enumerate(part.positions):
            assert position not in found
            found[position] = part.faults.get(index, part.payloads[index])
    return [found[position] for position in range(len(found))]


def values(answer: bytes | Fault) -> dict[str, Array]:
    """Return the outputs of an answer that must be one."""
    assert isinstance(answer, bytes), answer
    response = codec.decode(answer, InferenceResponse)
    return {tensor.name: from_tensor(tensor) for tensor in response.outputs}


def fault(answer: bytes | Fault) -> Fault:
    """Return the fault of a request that must have failed."""
    assert isinstance(answer, Fault)
    return answer


def rows(n: int, width: int = 1, start: float = 0.0) -> dict[str, Array]:
    """Return inputs of the default signature with n rows."""
    a = np.arange(start, start + 2 * n, dtype=np.float32).reshape(n, 2)
    return {"a": a, "b": np.ones((n, width), np.float32)}


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


REFUSED: dict[str, tuple[dict[str, Any], str, Sequence[str], Code, str]] = {
    "missing": (
        {"a": np.ones((1, 2), np.float32)},
        "",
        (),
        Code.INVALID_ARGUMENT,
        "input size does not match signature: missing: b; the signature serving_default wants a, b",
    ),
    "missing and unexpected": (
        {"a": np.ones((1, 2), np.float32), "z": np.ones(1)},
        "",
        (),
        Code.INVALID_ARGUMENT,
        (
            "input size does not match signature: missing: b; unexpected: z; "
            "the signature serving_default wants a, b"
        ),
    ),
    "dtype": (
        {"a": np.ones((1, 2), np.int64), "b": np.ones((1, 1), np.float32)},
        "",
        (),
        Code.INVALID_ARGUMENT,
        "input 'a' expects float32 but int64 is provided",
    ),
    "signature": (
        {},
        "nope",
        (),
        Code.FAILED_PRECONDITION,
        (
            'Serving signature name: "nope" not found in signature def; the model has: '
            "defaulted, fixed, serving_default, shrinking, text, total"
        ),
    ),
    "filter": (
        rows(1),
        "",
        ("sum", "nope"),
        Code.INVALID_ARGUMENT,
        (
            "output tensor alias not found in signature: nope; outputs expected to be in the set "
            "{first, sum}"
        ),
    ),
    "duplicate filter": (
        rows(1),
        "",
        ("sum", "first", "sum"),
        Code.INVALID_ARGUMENT,
        "duplicate output tensor alias: sum",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_says_what_does_not_fit_the_signature(case: str) -> None:
    """Every refusal names what was wrong and what was expected."""
    inputs, name, output_filter, code, message = REFUSED[case]
    [answer] = answers(make_batcher(Arithmetic()), [make_call(inputs, name, output_filter)])
    assert answer == Fault(code, message, is_unreadable=False)


@pytest.mark.parametrize("encoding", [Encoding.AVRO, Encoding.TENSORFLOW_SERVING])
@pytest.mark.parametrize("payload", [b"", b"\xff\x00", b"\xc3\x01" + bytes(40)])
def test_garbage_is_marked_unreadable_or_refused(encoding: Encoding, payload: bytes) -> None:
    """No bytes can make more than an answer; to protobuf, no bytes are an empty message."""
    [answer] = answers(make_batcher(Arithmetic()), [Calls(encoding, [payload], [FAR])])
    assert fault(answer).code is Code.INVALID_ARGUMENT
    assert fault(answer).is_unreadable == (encoding is Encoding.AVRO or payload != b"")


@st.composite
def some_calls(draw: st.DrawFn) -> list[Calls]:
    """Calls of all kinds, good and bad."""
    calls: list[Calls] = []
    for _ in range(draw(st.integers(0, 12))):
        n = draw(st.integers(0, 4))
        kind = draw(st.sampled_from(["rows", "rows", "nan", "total", "text", "shrink", "dtype"]))
        vector = np.array(draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n)), np.float32)
        match kind:
            case "rows":
                width = draw(st.integers(1, 2))
                calls.append(make_call(rows(n, width, draw(st.integers(0, 9)))))
            case "nan":
                calls.append(make_call({**rows(n), "a": np.full((n, 2), np.nan, np.float32)}))
            case "total":
                calls.append(make_call({"a": vector}, "total"))
            case "text":
                calls.append(make_call({"a": np.array([b"x"] * n, object)}, "text"))
            case "shrink":
                calls.append(make_call({"a": vector}, "shrinking"))
            case _:
                calls.append(make_call({"a": np.ones(3, np.float32)}, "fixed"))
    return calls


@settings(deadline=None, max_examples=150)
@given(calls=some_calls(), max_rows=st.integers(1, 12))
def test_joined_is_as_alone(calls: list[Calls], max_rows: int) -> None:
    """Whatever comes together, every call is answered as if it had come alone."""
    together = answers(make_batcher(Arithmetic(), max_rows), calls)
    alone = [answers(make_batcher(Arithmetic(), max_rows), [call])[0] for call in calls]
    assert together == alone
