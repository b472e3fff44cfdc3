"""Refusals: what does not fit is answered with what was wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from headrace.consumer.core.calls import Calls, Encoding, Fault
from headrace.consumer.core.codes import Code
from tests.unit.consumer.formats import payloads
from tests.unit.consumer.formats.arithmetic import Arithmetic
from tests.unit.consumer.formats.calling import FAR, answers, fault, make_batcher, make_call, rows
from tests.unit.consumer.formats.payloads import Form

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


def test_a_tensor_that_leaves_no_room_for_an_axis_is_refused() -> None:
    """The most dimensions that numpy has are one too many for a batch, and no more than a fault."""
    form = Form("", {"a": (np.dtype(np.float32), (1,) * 64)})
    call = Calls(Encoding.TENSORFLOW_SERVING, [payloads.packed_predict(form, 1)], [FAR])
    [answer] = answers(make_batcher(Arithmetic()), [call])
    assert fault(answer).code is Code.INVALID_ARGUMENT
    assert fault(answer).message.startswith("tensor parsing error: ")
