"""Requests of different lengths in one run: each gets the answer that it would get alone."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.consumer.core.calls import Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.formats.batch import Batcher
from headrace.consumer.platforms.platform import Array
from headrace.schemas.records import Batching
from tests.unit.consumer.formats.calling import answers, fault, make_batcher, make_call, values
from tests.unit.consumer.formats.sequences import CLASSES, Sequences

PADS = Batching(pads_variable_length=True)


@pytest.fixture
def model() -> Sequences:
    return Sequences()


@pytest.fixture
def batcher(model: Sequences) -> Batcher:
    """A batcher that pads, and that has seen two lengths of the default signature."""
    batcher = make_batcher(model, rules=PADS)
    for length in (1, 2):
        answers(batcher, [make_call(ids(length))])
    model.fed.clear()
    return batcher


def ids(length: int, rows: int = 1, start: int = 1) -> dict[str, Array]:
    """Return inputs of the default signature."""
    return {"ids": np.arange(start, start + rows * length).reshape(rows, length)}


def test_lengths_are_not_mixed_unless_asked(model: Sequences) -> None:
    """By default each length has runs of its own."""
    answers(make_batcher(model), [make_call(ids(n)) for n in (3, 4, 3)])
    assert model.shapes == [(2, 3), (1, 4)]


def test_different_lengths_share_a_run(model: Sequences, batcher: Batcher) -> None:
    """Each is padded to the longest with its own first element, and gets its own length back."""
    sent = [ids(3, start=7), ids(5, rows=2, start=1), ids(4, start=2)]
    result = answers(batcher, [make_call(x) for x in sent])
    [fed] = model.fed
    assert fed["ids"].tolist() == [
        [7, 8, 9, 7, 7],
        [1, 2, 3, 4, 5],
        [6, 7, 8, 9, 10],
        [2, 3, 4, 5, 2],
    ]
    for x, answer in zip(sent, result, strict=True):
        np.testing.assert_array_equal(values(answer)["doubled"], x["ids"] * 2)


def test_an_output_of_one_length_is_never_cut(model: Sequences, batcher: Batcher) -> None:
    """Scores of five classes stay five, also beside an input that was padded to five."""
    result = answers(batcher, [make_call(ids(n)) for n in (3, CLASSES)])
    assert len(model.fed) == 1
    assert [values(answer)["scores"].shape for answer in result] == [(1, CLASSES)] * 2


def test_runs_apart_until_it_knows_which_lengths_follow(model: Sequences) -> None:
    """The first padded run is repeated request by request, and the next need not be."""
    batcher = make_batcher(model, rules=PADS)
    for _ in range(2):
        result = answers(batcher, [make_call(ids(n)) for n in (3, CLASSES)])
        assert [values(answer)["doubled"].shape for answer in result] == [(1, 3), (1, CLASSES)]
        assert [values(answer)["scores"].shape for answer in result] == [(1, CLASSES)] * 2
    assert model.shapes == [(2, 5), (1, 3), (1, 5), (2, 5)]


def test_tells_apart_two_inputs_that_were_as_long(model: Sequences) -> None:
    """What two inputs might explain is settled by requests in which they differ."""
    batcher = make_batcher(model, rules=PADS)

    def pair(a: int, b: int) -> dict[str, Array]:
        return {"a": np.arange(a)[None] + 1, "b": np.arange(b)[None] + 1}

    alike = [pair(n, n) for n in (1, 2, 4)]
    answers(batcher, [make_call(x, "pair") for x in alike])
    model.fed.clear()
    for _ in range(2):
        sent = [pair(2, 4), pair(4, 3)]
        result = answers(batcher, [make_call(x, "pair") for x in sent])
        for x, answer in zip(sent, result, strict=True):
            np.testing.assert_array_equal(values(answer)["left"], x["a"] * 2)
            np.testing.assert_array_equal(values(answer)["right"], x["b"] + 1)
    assert model.shapes == [(2, 4), (1, 2), (1, 4), (2, 4)]


def test_pads_strings(model: Sequences) -> None:
    """A tensor of strings is padded with its own first string."""
    batcher = make_batcher(model, rules=PADS)
    for words in ([b"a"], [b"b", b"c"]):
        answers(batcher, [make_call({"text": np.array([words], object)}, "text")])
    model.fed.clear()
    sent = [[b"x", b"y", b"z"], [b"v", b"w"]]
    calls = [make_call({"text": np.array([words], object)}, "text") for words in sent]
    result = answers(batcher, calls)
    assert model.fed[0]["text"].tolist() == [[b"x", b"y", b"z"], [b"v", b"w", b"v"]]
    assert [values(answer)["upper"].tolist() for answer in result] == [
        [[b"X", b"Y", b"Z"]],
        [[b"V", b"W"]],
    ]


def test_pads_several_dimensions(model: Sequences) -> None:
    """Height and width are padded each to its own, and found again where outputs swap them."""
    batcher = make_batcher(model, rules=PADS)
    shapes = [(1, 2, 3, 3), (2, 4, 1, 3), (1, 3, 3, 3)]
    sent = [np.random.default_rng(0).random(shape, np.float32) for shape in shapes]
    for _ in range(2):
        result = answers(batcher, [make_call({"x": x}, "image") for x in sent])
        for x, answer in zip(sent, result, strict=True):
            np.testing.assert_array_equal(values(answer)["y"], x / 2)
            np.testing.assert_array_equal(values(answer)["turned"], x.swapaxes(1, 2))
    assert model.shapes[-1] == (4, 4, 3, 3)


def test_what_the_signature_fixes_is_never_padded(model: Sequences, batcher: Batcher) -> None:
    """A dimension that does not fit the declared one fails alone."""
    shapes = [(1, 2, 3, 3), (1, 2, 3, 2)]
    answers(batcher, [make_call({"x": np.ones(s, np.float32)}, "image") for s in shapes])
    assert model.shapes == shapes


def test_a_failing_member_of_a_padded_run_fails_alone(batcher: Batcher) -> None:
    """Its neighbours are run again at their own lengths."""
    sent = [ids(3), ids(4, start=-9), ids(5)]
    result = answers(batcher, [make_call(x) for x in sent])
    assert fault(result[1]).code is Code.INVALID_ARGUMENT
    for place in (0, 2):
        np.testing.assert_array_equal(values(result[place])["doubled"], sent[place]["ids"] * 2)


def test_nothing_to_pad_with(model: Sequences, batcher: Batcher) -> None:
    """Empty sequences run with their like; no rows of any length run with others."""
    sent = [ids(0, rows=2), ids(3), ids(7, rows=0), ids(0)]
    calls = [make_call(x, output_filter=["doubled"]) for x in sent]
    result = answers(batcher, calls)
    assert sorted(model.shapes) == [(1, 7), (3, 0)]
    assert [values(answer)["doubled"].shape for answer in result] == [x["ids"].shape for x in sent]


def test_a_length_that_follows_no_input_stays_as_the_run_made_it(model: Sequences) -> None:
    """Half a padded length cannot be told from the whole: such outputs stay padded."""
    batcher = make_batcher(model, rules=PADS)
    for length in (3, 4):
        answers(batcher, [make_call(ids(length), "halved")])
    result = answers(batcher, [make_call(ids(length), "halved") for length in (3, 6)])
    assert [values(answer)["y"].shape for answer in result] == [(1, 3), (1, 3)]


def test_rules_may_change_between_frames(model: Sequences, batcher: Batcher) -> None:
    """Padding ends with the rule."""
    batcher.rules = Batching()
    result = answers(batcher, [make_call(ids(n)) for n in (3, 4)])
    assert model.shapes == [(1, 3), (1, 4)]
    assert not any(isinstance(answer, Fault) for answer in result)


def test_one_long_request_does_not_make_the_short_ones_as_long(
    model: Sequences, batcher: Batcher
) -> None:
    """What would take too much memory when padded runs one by one, and is answered all the same."""
    sent = [ids(2**17), *[ids(1) for _ in range(300)]]
    result = answers(batcher, [make_call(x) for x in sent])
    assert sorted({len(x["ids"]) for x in model.fed}) == [1]
    assert len(model.fed) == len(sent)
    for x, answer in zip(sent, result, strict=True):
        np.testing.assert_array_equal(values(answer)["doubled"], x["ids"] * 2)
