"""Arrays to wire tensors and back, and what is wrong with tensors that are none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headrace.schemas.codec import decode, encode
from headrace.schemas.errors import Undecodable
from headrace.schemas.records import InferenceRequest, Tensor
from headrace.schemas.tensors import MAX_RANK, NUMPY_DTYPES, from_tensor, to_tensor

SHAPE: Final = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)
NUMBERS: Final = st.sampled_from(list(NUMPY_DTYPES)).flatmap(
    lambda name: hnp.arrays(np.dtype(name), SHAPE)
)
FLOATS: Final = Tensor(name="x", dtype="float32", shape=(2, 3), data=bytes(24))
STRINGS: Final = Tensor(name="s", dtype="string", shape=(2,), strings=(b"a", b"\xff\x00"))


@settings(deadline=None, max_examples=200)
@given(NUMBERS)
def test_numbers_come_back_bit_for_bit(array: npt.NDArray[Any]) -> None:
    """Every dtype and shape survives the wire, NaN payloads and empty arrays included."""
    request = InferenceRequest(model="m", inputs=(to_tensor("x", array),))
    (tensor,) = decode(encode(request), InferenceRequest).inputs
    back = from_tensor(tensor)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()


@settings(deadline=None, max_examples=100)
@given(hnp.arrays(object, SHAPE, elements=st.binary(max_size=5) | st.text(max_size=5)))
def test_strings_come_back_as_bytes(array: npt.NDArray[Any]) -> None:
    """Text becomes UTF-8; bytes stay as they are, zero bytes at the end included."""
    back = from_tensor(to_tensor("s", array))
    assert (back.dtype, back.shape) == (np.dtype(object), array.shape)
    wanted = [item.encode() if isinstance(item, str) else item for item in array.ravel().tolist()]
    assert back.ravel().tolist() == wanted


@pytest.mark.parametrize(
    ("array", "dtype", "shape"),
    [
        ([1.0, 2.0], "float64", (2,)),
        (3, "int64", ()),
        ([[True], [False]], "bool", (2, 1)),
        ("text", "string", ()),
        (["a", "ü"], "string", (2,)),
        (np.array([b"a", b"bc"]), "string", (2,)),
        (np.array(["a"], dtype=np.dtypes.StringDType()), "string", (1,)),
        ([], "float64", (0,)),
    ],
)
def test_takes_what_numpy_takes(array: Any, dtype: str, shape: tuple[int, ...]) -> None:  # noqa: ANN401
    """Lists, numbers and text become tensors as numpy reads them."""
    tensor = to_tensor("x", array)
    assert (tensor.dtype, tensor.shape) == (dtype, shape)


def test_wire_is_little_endian_and_row_major() -> None:
    """The memory layout of the array does not show on the wire."""
    array = np.array([[1, 2], [3, 4]], dtype=">u2")
    assert to_tensor("x", array).data == b"\x01\x00\x02\x00\x03\x00\x04\x00"
    assert to_tensor("x", array.T).data == b"\x01\x00\x03\x00\x02\x00\x04\x00"
    assert to_tensor("x", array[:, ::2]).data == b"\x01\x00\x03\x00"
    assert to_tensor("x", array).dtype == "uint16"


def test_arrays_are_read_only_views() -> None:
    """Reading numbers copies nothing, and no reader can change what others read."""
    tensor = to_tensor("x", np.arange(6.0).reshape(2, 3))
    array = from_tensor(tensor)
    assert np.shares_memory(array, np.frombuffer(tensor.data, np.uint8))
    for each in (array, from_tensor(STRINGS), from_tensor(replace(FLOATS, shape=(0,), data=b""))):
        assert not each.flags.writeable


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.array(["2026-01-01"], dtype="datetime64[D]"), "datetime64"),
        (np.array([(1, 2)], dtype=[("a", "i4"), ("b", "i4")]), "expected one of bool, int8"),
        (np.array([{"a": 1}], dtype=object), "dict objects"),
        (np.array([None], dtype=object), "NoneType objects"),
        (["\ud800"], "UTF-8"),
        ([[1, 2], [3]], "not an array"),
        ([2**70], "int objects"),
        (np.zeros((1,) * 40), f"40 dimensions; at most {MAX_RANK}"),
        (np.zeros(1, dtype=np.longdouble), "expected one of"),
    ],
)
def test_refuses_arrays_without_a_wire_form(array: Any, text: str) -> None:  # noqa: ANN401
    """What cannot travel is refused by name, before anything is sent."""
    with pytest.raises(ValueError, match=text) as caught:
        to_tensor("price", array)
    assert "'price'" in str(caught.value)


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (replace(FLOATS, data=bytes(23)), r"23 bytes of data; float32 \[2, 3\] takes 24"),
        (replace(FLOATS, data=bytes(25)), "25 bytes"),
        (replace(FLOATS, dtype="float31"), "dtype 'float31'; expected one of bool"),
        (replace(FLOATS, dtype=""), "dtype ''"),
        (replace(FLOATS, dtype="<f4"), "expected one of"),
        (replace(FLOATS, dtype="object"), "expected one of"),
        (replace(FLOATS, shape=(-2, -3)), "no dimension may be negative"),
        (replace(FLOATS, shape=(2**62, 2**62)), "takes"),
        (replace(FLOATS, shape=(0, 2**62, 2**62), data=b""), "too large for an array"),
        (replace(FLOATS, shape=(0, 2**63 - 1), data=b""), "too large for an array"),
        (replace(FLOATS, shape=(1,) * 33, data=bytes(4)), "33 dimensions"),
        (replace(FLOATS, strings=(b"a",)), "carries strings"),
        (replace(FLOATS, dtype="bool", data=b"\x00\x01\x00\x01\x02\x00"), "other than 0 and 1"),
        (replace(STRINGS, strings=(b"a",)), r"1 strings; shape \[2\] takes 2"),
        (replace(STRINGS, shape=(2**62,)), "takes"),
        (replace(STRINGS, data=b"a"), "carries 1 bytes"),
    ],
)
def test_refuses_tensors_that_do_not_add_up(tensor: Tensor, text: str) -> None:
    """The text says what the tensor has and what it should have."""
    with pytest.raises(Undecodable, match=text):
        from_tensor(tensor)


@settings(deadline=None, max_examples=300)
@given(
    st.builds(
        Tensor,
        name=st.text(max_size=3),
        dtype=st.sampled_from([*NUMPY_DTYPES, "string", "void"]),
        shape=st.lists(st.sampled_from([-1, 0, 1, 2, 2**31, 2**63 - 1]), max_size=4).map(tuple),
        data=st.binary(max_size=16),
        strings=st.lists(st.binary(max_size=2), max_size=4).map(tuple),
    )
)
def test_any_tensor_is_an_array_or_refused(tensor: Tensor) -> None:
    """No combination of fields raises anything but Undecodable."""
    try:
        array = from_tensor(tensor)
    except Undecodable:
        return
    assert array.shape == tensor.shape


def test_long_names_do_not_fill_the_text() -> None:
    """A hostile name is not repeated in full by the error."""
    with pytest.raises(Undecodable) as caught:
        from_tensor(replace(FLOATS, name="x" * 1_000_000, dtype="y" * 1_000_000))
    assert len(str(caught.value)) < 500
