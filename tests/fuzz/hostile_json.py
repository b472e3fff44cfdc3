"""JSON that means harm, in the forms that requests have."""

from __future__ import annotations

import json
import struct
from typing import Final

from hypothesis import strategies as st

from headrace.consumer.formats.open_inference import SIGNATURE_PARAMETER
from tests.fuzz.values import DATATYPES, names, shapes, signatures

# Bare words stand for what `json.dumps` cannot write.
_TEXTS: Final = st.one_of(
    st.sampled_from(["", "é", "\ud800", "\udfff", "a" * 300]), st.text(max_size=3)
)
_LEAVES: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**63, -(2**63) - 1, 2**64, 10**400]),
    st.floats(),
    _TEXTS,
    st.sampled_from(["", "aGk=", "a", "é", "\ud800"]).map(lambda text: {"b64": text}),
)
_VALUES: Final = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | _TEXTS, inner, max_size=2),
    max_leaves=8,
)
_MATRICES: Final = st.lists(st.lists(_LEAVES, min_size=1, max_size=2), min_size=1, max_size=3)
_NAMED: Final = st.dictionaries(names, _VALUES | _MATRICES, max_size=2)


def _body(fields: object) -> bytes:
    return json.dumps(fields).encode()


predict_json = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": signatures | _VALUES,
        "instances": _VALUES | _MATRICES | st.lists(_NAMED, max_size=3),
        "inputs": _VALUES | _MATRICES | _NAMED,
    },
).map(_body)
examples_json = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": signatures | _VALUES,
        "context": _VALUES | _NAMED,
        "examples": _VALUES | st.lists(_NAMED, max_size=3),
    },
).map(_body)

_JSON_PARAMETERS: Final = st.dictionaries(
    st.sampled_from(
        [SIGNATURE_PARAMETER, "headrace_x", "binary_data", "binary_data_size", "binary_data_output"]
    ),
    st.sampled_from([True, False, 0, 4, 8, -1, 2**63, 1.5, "", "two", "nope"]),
    max_size=2,
)
_JSON_INPUT: Final = st.fixed_dictionaries(
    {"name": names, "shape": shapes, "datatype": st.sampled_from(DATATYPES)},
    optional={"data": _VALUES | _MATRICES, "parameters": _JSON_PARAMETERS},
)


def framed(text: bytes, packed: bytes = b"", length: int | None = None) -> bytes:
    """Return the frame of a JSON infer request."""
    return struct.pack("<I", len(text) if length is None else length) + text + packed


def _framed(fields: object, packed: bytes) -> bytes:
    return framed(_body(fields), packed)


infer_json = st.builds(
    _framed,
    st.fixed_dictionaries(
        {"inputs": st.lists(_JSON_INPUT, max_size=3) | _VALUES},
        optional={
            "id": _TEXTS | st.integers(),
            "parameters": _JSON_PARAMETERS | _VALUES,
            "outputs": st.lists(
                st.fixed_dictionaries({"name": names}, optional={"parameters": _JSON_PARAMETERS}),
                max_size=2,
            ),
        },
    ),
    st.binary(max_size=16),
)
