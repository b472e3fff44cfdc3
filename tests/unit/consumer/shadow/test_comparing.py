"""Whether two answers agree: exactly, within tolerances, as errors, and when one cannot be read."""

from __future__ import annotations

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.core.calls import Encoding
from headrace.consumer.formats.avro import Avro
from headrace.consumer.formats.open_inference import OpenInference, Style
from headrace.consumer.platforms.platform import Array
from headrace.consumer.shadow.comparing import Verdict, compare, records
from headrace.consumer.shadow.messages import Job, Outcome, Pair
from headrace.schemas import codec
from headrace.schemas.comparison import Agreement, Answered, Difference, ShadowComparison
from headrace.schemas.records import Tolerance

NAN, INF = float("nan"), float("inf")
HALF = {"y": Tolerance(absolute=0.5)}


def answer(version: int, outputs: Mapping[str, Array]) -> Outcome:
    """Return the answer of a version."""
    return Outcome(Avro("m", version).write("serving_default", outputs, None), 7)


def judged(
    primary: Array, shadow: Array, tolerances: Mapping[str, Tolerance] | None = None
) -> Verdict:
    """Return how two values of the output y compare."""
    pair = Pair(answer(1, {"y": primary}), answer(2, {"y": shadow}))
    return compare(Encoding.AVRO, pair, tolerances or {})


def floats(*values: float) -> Array:
    """Return float32s."""
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("primary", "shadow", "tolerances"),
    [
        (floats(1, NAN, INF, -INF), floats(1, NAN, INF, -INF), {}),
        (floats(1.0), floats(1.5), HALF),
        (floats(1.0), floats(0.5), {"": Tolerance(absolute=0.5)}),
        (floats(-100.0), floats(-101.0), {"y": Tolerance(relative=0.01)}),
        (floats(10.0), floats(11.5), {"y": Tolerance(absolute=0.5, relative=0.1)}),
        (np.array([3]), np.array([4]), {"y": Tolerance(absolute=1)}),
        (np.array([b"a"], object), np.array([b"a"], object), {}),
        (np.array([1 + 1j]), np.array([1 + 2j]), {"y": Tolerance(absolute=1)}),
        (np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), {}),
    ],
)
def test_agrees(primary: Array, shadow: Array, tolerances: Mapping[str, Tolerance]) -> None:
    """The same, NaN for NaN, or no further apart than absolute + relative * |primary|."""
    assert judged(primary, shadow, tolerances) == Verdict(Agreement.AGREES)


@pytest.mark.parametrize(
    ("primary", "shadow", "tolerances", "differing", "at_most"),
    [
        (floats(1, 2, 3), floats(1, 2.25, 2), {}, 2, 1.0),
        (floats(1.0), floats(1.625), HALF, 1, 0.625),
        (floats(1.0), floats(1.25), {"": Tolerance(absolute=1), "y": Tolerance()}, 1, 0.25),
        (floats(1.0), floats(1.25), {"z": Tolerance(absolute=1)}, 1, 0.25),
        (floats(1.0), floats(NAN), {"": Tolerance(absolute=1e30, relative=1e30)}, 1, INF),
        (floats(NAN), floats(1.0), {"": Tolerance(absolute=1e30, relative=1e30)}, 1, INF),
        (floats(INF), floats(1.0), {"": Tolerance(relative=1)}, 1, INF),
        (floats(INF), floats(-INF), {"": Tolerance(relative=1)}, 1, INF),
        (np.array([2**60]), np.array([2**60 + 1]), {}, 1, 1.0),
        (np.array([True]), np.array([False]), {}, 1, 1.0),
        (np.array([b"a", b"b"], object), np.array([b"a", b"B"], object), HALF, 1, 0.0),
    ],
)
def test_differs(
    primary: Array,
    shadow: Array,
    tolerances: Mapping[str, Tolerance],
    differing: int,
    at_most: float,
) -> None:
    """How many elements, and by how much at most; an output's own tolerance goes first."""
    found = judged(primary, shadow, tolerances)
    expected = Difference(
        output="y", elements=primary.size, differing=differing, max_absolute=at_most
    )
    assert found == Verdict(Agreement.DIFFERS, (expected,))


@pytest.mark.parametrize(
    ("shadow", "words"),
    [
        (np.array([[1.0]], np.float32), "shape [1], and [1, 1] of the shadow"),
        (np.array([1.0]), "dtype float32, and float64 of the shadow"),
        (np.array([b"1"], object), "dtype float32, and string of the shadow"),
    ],
)
def test_other_shapes_and_dtypes_differ_whatever_the_tolerance(shadow: Array, words: str) -> None:
    """Numbers are then not set side by side; the reason says why."""
    found = judged(floats(1.0), shadow, {"": Tolerance(absolute=1e9)})
    assert found == Verdict(Agreement.DIFFERS, (Difference(output="y", elements=1, reason=words),))


def test_missing_outputs_differ() -> None:
    """Each is named, in the order of names."""
    pair = Pair(
        answer(1, {"a": floats(1), "b": floats(2, 3)}), answer(2, {"a": floats(1), "c": floats(1)})
    )
    found = compare(Encoding.AVRO, pair, {})
    assert found.agreement is Agreement.DIFFERS
    assert [(each.output, each.reason) for each in found.differences] == [
        ("b", "the shadow has no such output"),
        ("c", "only the shadow has such an output"),
    ]


def test_bfloat16_is_compared_as_numbers() -> None:
    """A dtype that numpy itself has not."""
    styled = [
        OpenInference("m", n).write("", {"y": values}, Style("", is_raw=True))
        for n, values in enumerate(
            [np.array([1, NAN], ml_dtypes.bfloat16), np.array([2, NAN], ml_dtypes.bfloat16)]
        )
    ]
    found = compare(Encoding.OPEN_INFERENCE, Pair(Outcome(styled[0]), Outcome(styled[1])), {})
    (difference,) = found.differences
    assert (difference.differing, difference.max_absolute) == (1, 1.0)


def error(code: str) -> Outcome:
    """Return an outcome that is an error."""
    return Outcome(b"", 7, code, f"it was {code}")


@pytest.mark.parametrize(
    ("primary", "shadow", "agreement"),
    [
        (error("INVALID_ARGUMENT"), error("INVALID_ARGUMENT"), Agreement.AGREES),
        (error("INVALID_ARGUMENT"), error("INTERNAL"), Agreement.DIFFERS),
        (error("INVALID_ARGUMENT"), answer(2, {"y": floats(1)}), Agreement.DIFFERS),
        (answer(1, {"y": floats(1)}), error("INTERNAL"), Agreement.FAILED),
        (answer(1, {"y": floats(1)}), error("UNAVAILABLE"), Agreement.FAILED),
        (error("INVALID_ARGUMENT"), error("DEADLINE_EXCEEDED"), Agreement.FAILED),
    ],
)
def test_errors_compare_by_their_codes(
    primary: Outcome, shadow: Outcome, agreement: Agreement
) -> None:
    """The same refusal is agreement; a shadow that fails where the primary does not is failure."""
    assert compare(Encoding.AVRO, Pair(primary, shadow), {}).agreement is agreement


@pytest.mark.parametrize("is_primary", [True, False])
@pytest.mark.parametrize("encoding", Encoding)
def test_what_cannot_be_read_fails_alone(encoding: Encoding, is_primary: bool) -> None:
    """Of any encoding; the reason says whose answer it is."""
    good, bad = answer(1, {"y": floats(1)}), Outcome(b"\xff\xff")
    pair = Pair(bad, good) if is_primary else Pair(good, bad)
    found = compare(encoding, pair, {})
    assert found.agreement is Agreement.FAILED
    assert "answer cannot be read" in found.differences[0].reason
    if encoding is Encoding.AVRO:
        assert found.differences[0].reason.startswith("the primary" if is_primary else "the shadow")


def job(*pairs: Pair, shadow_version: int = 2, missed: int = 0) -> Job:
    """Return a job over these pairs."""
    return Job(
        model="alias",
        node="n",
        at_ms=5,
        encoding=Encoding.AVRO,
        tolerances={},
        primary=Answered(model="m", version=1, control_offset=3, digest="d", arm="stable"),
        shadow=Answered(model="m", version=shadow_version),
        missed=missed,
        pairs=list(pairs),
    )


def done(work: Job) -> list[ShadowComparison]:
    """Return the comparisons of a job."""
    return [codec.decode(record, ShadowComparison) for record in records(work)]


def test_a_record_for_each_pair_says_where_both_answers_came_from() -> None:
    """Provenance, latency and error of each; what was missed is in the first."""
    first, second = done(
        job(
            Pair(answer(1, {"y": floats(1)}), answer(2, {"y": floats(1)})),
            Pair(answer(1, {"y": floats(1)}), error("INTERNAL")),
            missed=4,
        )
    )
    assert first.primary == Answered(
        model="m", version=1, control_offset=3, digest="d", arm="stable", latency_micros=7
    )
    assert (first.agreement, first.missed, first.model, first.node, first.at_ms) == (
        Agreement.AGREES,
        4,
        "alias",
        "n",
        5,
    )
    assert (second.agreement, second.missed) == (Agreement.FAILED, 0)
    assert (second.shadow.error_code, second.shadow.error) == ("INTERNAL", "it was INTERNAL")


def test_without_a_version_to_ask_nothing_agrees() -> None:
    """Also when the caller got an error of the same code."""
    pair = Pair(error("NOT_FOUND"), error("NOT_FOUND"))
    (record,) = done(job(pair, shadow_version=0))
    assert record.agreement is Agreement.FAILED


def test_text_that_cannot_travel_is_made_fit() -> None:
    """Halves of characters and endless messages come from models, and must not stop the rest."""
    odd = Outcome(b"", 0, "INTERNAL", "\ud800" * 5000)
    (record,) = done(job(Pair(answer(1, {}), odd)))
    assert 0 < len(record.shadow.error) <= 1001


@given(st.lists(st.floats(width=32), min_size=1, max_size=5), st.data())
def test_every_answer_agrees_with_itself_and_symmetrically(
    values: list[float], data: st.DataObject
) -> None:
    """Exact comparison is an equivalence: a value agrees with itself, and order does not matter."""
    others = data.draw(st.lists(st.floats(width=32), min_size=len(values), max_size=len(values)))
    one, two = floats(*values), floats(*others)
    assert judged(one, one).agreement is Agreement.AGREES
    assert judged(one, two).agreement is judged(two, one).agreement
