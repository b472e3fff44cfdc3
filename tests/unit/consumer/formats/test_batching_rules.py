"""Whatever the rules of batching, answers are those of an unbatched model."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.consumer.core.calls import Calls, Encoding
from headrace.schemas.records import Batching, LargeRequests
from tests.unit.consumer.formats import payloads
from tests.unit.consumer.formats.calling import FAR, answers, make_batcher, make_call
from tests.unit.consumer.formats.payloads import Form
from tests.unit.consumer.formats.sequences import CLASSES, Sequences

LENGTH = st.integers(0, CLASSES)


@st.composite
def rules(draw: st.DrawFn) -> Batching:
    """Any rules that `headrace config` would write."""
    sizes = sorted(draw(st.sets(st.integers(1, 9), min_size=1, max_size=3)))
    return Batching(
        max_rows=sizes[-1],
        allowed_rows=tuple(sizes) if draw(st.booleans()) else (),
        pads_variable_length=draw(st.booleans()),
        large_requests=draw(st.sampled_from([LargeRequests.RUN_WHOLE, LargeRequests.SPLIT])),
    )


@st.composite
def requests(draw: st.DrawFn) -> Calls:
    """One request, good or bad, in one of two encodings."""
    rows, length, start = draw(LENGTH), draw(LENGTH), draw(st.integers(-1, 9))
    if draw(st.booleans()):
        form = Form("", {"ids": (np.dtype(np.int64), (rows, length))})
        return Calls(Encoding.TENSORFLOW_SERVING, [payloads.packed_predict(form, start + 1)], [FAR])
    match draw(st.sampled_from(["ids", "text", "pair", "image"])):
        case "text":
            text = np.full((rows, length), b"w%d" % start, object)
            return make_call({"text": text}, "text")
        case "pair":
            a, b = np.full((rows, length), start), np.full((rows, draw(LENGTH)), start)
            return make_call({"a": a, "b": b}, "pair")
        case "image":
            shape = (rows, length, draw(LENGTH), draw(st.sampled_from([3, 3, 2])))
            return make_call({"x": np.full(shape, start, np.float32)}, "image")
        case _:
            return make_call({"ids": np.arange(rows * length).reshape(rows, length) + start})


FRAMES = st.lists(st.lists(requests(), max_size=8), max_size=4)


@settings(deadline=None, max_examples=300)
@given(rules(), FRAMES)
def test_batched_is_as_alone(rules: Batching, frames: list[list[Calls]]) -> None:
    """For a model that treats each element by itself, frame after frame."""
    model = Sequences()
    batcher = make_batcher(model, rules=rules)
    for calls in frames:
        together = answers(batcher, calls)
        alone = [answers(make_batcher(Sequences()), [call])[0] for call in calls]
        assert together == alone
        assert all(size in rules.allowed_rows for size in _bounded(model, rules))


def _bounded(model: Sequences, rules: Batching) -> list[int]:
    """Return the rows of runs that had to be of an allowed size."""
    if not rules.allowed_rows:
        return []
    return [shape[0] for shape in model.shapes if 0 < shape[0] <= rules.max_rows]
