"""What hostile requests of every encoding are made of."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from tests.fuzz.everything import Everything

SIZES: Final = (0, 1, 2, 3, -1, 2**31, 2**40, 2**62, 2**63 - 1)
NAMES: Final[tuple[str, ...]] = ("x", "a", "b", "inputs", "", "é", "n" * 300)
SIGNATURES: Final[tuple[str, ...]] = (*Everything.signatures, "", "nope", "é" * 50)

names: st.SearchStrategy[str] = st.sampled_from(NAMES)
signatures = st.sampled_from(SIGNATURES)
shapes = st.one_of(
    st.lists(st.integers(0, 3), max_size=3),
    st.lists(st.sampled_from(SIZES), max_size=5),
    st.just([1] * 70),
)
int64s = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(width=32)

DATATYPES: Final = (
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "BF16", "FP32", "FP64", "BYTES", "", "fp32", "X" * 200),
)
