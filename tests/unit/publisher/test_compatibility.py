"""When callers of one version can call another."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.publisher.compatibility import breaks
from headrace.schemas.records import SignatureSpec, TensorSpec

X = TensorSpec(name="x", dtype="float32", shape=(-1, 3))
Y = TensorSpec(name="y", dtype="float32", shape=(-1,))
ANY = TensorSpec(name="x", dtype="float32")
OTHER = TensorSpec(name="other", dtype="int64", shape=())
OPTIONAL = replace(OTHER, is_optional=True)


def signature(
    inputs: tuple[TensorSpec, ...] = (X,), outputs: tuple[TensorSpec, ...] = (Y,), name: str = "s"
) -> SignatureSpec:
    """Return a signature."""
    return SignatureSpec(name=name, inputs=inputs, outputs=outputs)


def reshaped(spec: TensorSpec, *shape: int) -> TensorSpec:
    """Return a tensor of another shape."""
    return replace(spec, shape=shape)


BEFORE = signature()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param([BEFORE], [BEFORE], id="same"),
        pytest.param([BEFORE], [BEFORE, signature(name="t")], id="signature added"),
        pytest.param([BEFORE], [signature(outputs=(Y, OTHER))], id="output added"),
        pytest.param([BEFORE], [signature((X, OPTIONAL))], id="optional input added"),
        pytest.param([signature((X, OTHER))], [signature((X, OPTIONAL))], id="input made optional"),
        pytest.param([BEFORE], [signature((reshaped(X, -1, -1),))], id="input dimension widened"),
        pytest.param([BEFORE], [signature((ANY,))], id="input rank widened"),
        pytest.param([BEFORE], [signature(outputs=(reshaped(Y, 8),))], id="output narrowed"),
        pytest.param([BEFORE], [signature(outputs=(replace(Y, shape=None),))], id="output any"),
        pytest.param(
            [signature(outputs=(reshaped(Y, 8),))], [BEFORE], id="output dimension not told"
        ),
        pytest.param([signature((X, OTHER))], [signature((OTHER, X))], id="order of inputs"),
        pytest.param([], [BEFORE], id="nothing before"),
    ],
)
def test_what_callers_do_not_notice_is_compatible(
    before: list[SignatureSpec], after: list[SignatureSpec]
) -> None:
    """More is offered, or the same."""
    assert breaks(before, after) == []


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        pytest.param(BEFORE, signature(name="t"), "signature 's' is gone", id="signature"),
        pytest.param(BEFORE, signature(()), "input 'x', float32 (?, 3), is gone", id="input"),
        pytest.param(
            BEFORE,
            signature((replace(X, dtype="float64"),)),
            "input 'x' was float32 (?, 3), and is float64 (?, 3)",
            id="input retyped",
        ),
        pytest.param(
            BEFORE,
            signature((reshaped(X, 8, 3),)),
            "input 'x' was float32 (?, 3), and is float32 (8, 3)",
            id="input dimension narrowed",
        ),
        pytest.param(
            BEFORE, signature((reshaped(X, -1, 4),)), "is float32 (?, 4)", id="input changed"
        ),
        pytest.param(BEFORE, signature((reshaped(X, -1),)), "is float32 (?)", id="input rank"),
        pytest.param(
            signature((ANY,)), BEFORE, "was float32 of any shape, and is", id="input rank narrowed"
        ),
        pytest.param(
            BEFORE,
            signature((X, OTHER)),
            "input 'other', int64 (), is new, and callers do not send it",
            id="input added",
        ),
        pytest.param(
            signature((X, OPTIONAL)),
            signature((X, OTHER)),
            "input 'other' could be left out, and cannot any more",
            id="input made required",
        ),
        pytest.param(
            BEFORE, signature(outputs=()), "output 'y', float32 (?), is gone", id="output"
        ),
        pytest.param(
            BEFORE,
            signature(outputs=(replace(Y, dtype="string"),)),
            "output 'y' was float32 (?), and is string (?)",
            id="output retyped",
        ),
        pytest.param(
            BEFORE, signature(outputs=(reshaped(Y, -1, 1),)), "is float32 (?, 1)", id="output rank"
        ),
        pytest.param(
            signature(outputs=(reshaped(Y, 8),)),
            signature(outputs=(reshaped(Y, 9),)),
            "output 'y' was float32 (8), and is float32 (9)",
            id="output changed",
        ),
    ],
)
def test_what_callers_lose_is_told_in_words(
    before: SignatureSpec, after: SignatureSpec, words: str
) -> None:
    """One loss each, with both sides of it."""
    (found,) = breaks([before], [after])
    assert words in found
    assert "signature 's'" in found


def test_every_loss_is_told() -> None:
    """A caller wants to hear it all at once."""
    after = signature((replace(X, dtype="int8"), OTHER), ())
    assert len(breaks([BEFORE, signature(name="t")], [after])) == 4


SPECS = st.builds(
    TensorSpec,
    name=st.sampled_from(["x", "y", "z"]),
    dtype=st.sampled_from(["float32", "string"]),
    shape=st.none() | st.lists(st.sampled_from([-1, 0, 1, 3]), max_size=3).map(tuple),
    is_optional=st.booleans(),
)
TENSORS = st.lists(SPECS, max_size=3, unique_by=lambda spec: spec.name).map(tuple)
SIGNATURES = st.lists(
    st.builds(SignatureSpec, name=st.sampled_from(["a", "b"]), inputs=TENSORS, outputs=TENSORS),
    max_size=2,
    unique_by=lambda each: each.name,
)


def widened(signature: SignatureSpec, *, extra: TensorSpec) -> SignatureSpec:
    """Return a signature that takes and gives more."""
    return replace(
        signature,
        inputs=(
            *(replace(spec, shape=None, is_optional=True) for spec in signature.inputs),
            replace(extra, name="new", is_optional=True),
        ),
        outputs=(*signature.outputs, replace(extra, name="new")),
    )


@given(SIGNATURES)
def test_a_version_is_compatible_with_itself(signatures: list[SignatureSpec]) -> None:
    """Whatever it offers."""
    assert breaks(signatures, signatures) == []


@given(SIGNATURES, SIGNATURES, SPECS)
def test_offering_more_never_loses_a_caller(
    before: list[SignatureSpec], after: list[SignatureSpec], extra: TensorSpec
) -> None:
    """What fits stays fitting when more is taken and given, and less is never broken by less."""
    more = [*(widened(each, extra=extra) for each in after), signature(name="c")]
    assert len(breaks(before, more)) <= len(breaks(before, after))
    assert len(breaks(before[:1], after)) <= len(breaks(before, after))
    assert breaks(after, more) == []
