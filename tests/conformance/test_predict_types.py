"""Every dtype and every encoding of a tensor, through models of both styles."""

from __future__ import annotations

from typing import Any, cast

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf  # type: ignore[import-untyped]

from headrace.protos import tensorflow_pb2
from tests.conformance.tensorflow_serving import STYLES, Array, Client, array, spec, tensor

each_style = pytest.mark.parametrize("style", STYLES)
VALUES: dict[str, list[Any]] = {
    "bool": [True, False, True],
    "float16": [0.5, -2.0, np.inf],
    "bfloat16": [0.5, -2.0, np.inf],
    "float32": [0.1, -np.inf, 3e38],
    "float64": [0.1, -np.inf, 1e300],
    "complex64": [1 + 2j, -0.5j, 3],
    "complex128": [1 + 2j, -0.5j, 1e300],
    "int8": [-128, 0, 127],
    "int16": [-(2**15), 0, 2**15 - 1],
    "int32": [-(2**31), 0, 2**31 - 1],
    "int64": [-(2**63), 0, 2**63 - 1],
    "uint8": [0, 1, 255],
    "uint16": [0, 1, 2**16 - 1],
    "uint32": [0, 1, 2**32 - 1],
    "uint64": [0, 1, 2**64 - 1],
}
STRINGS = [b"a", b"", "ü".encode(), b"\xff\x00\xfe"]


def of_dtype(dtype: str) -> Array:
    """Return values of a dtype, at its limits."""
    kind = cast("Any", ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    return np.array(VALUES[dtype], kind)


FIELDS = {
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16"), "int_val"),
    **dict.fromkeys(("float16", "bfloat16"), "half_val"),
    "bool": "bool_val",
    "float32": "float_val",
    "float64": "double_val",
    "complex64": "scomplex_val",
    "complex128": "dcomplex_val",
    **{name: f"{name}_val" for name in ("int64", "uint32", "uint64")},
}
"""As TensorFlow's tensor.proto says."""


def packed(value: Array) -> tensorflow_pb2.TensorProto:
    """Return TensorFlow's message of an array as bytes."""
    made = tensor(np.zeros(value.shape, value.dtype))
    made.Clear()
    made.dtype = cast("Any", tf).as_dtype(value.dtype).as_datatype_enum
    for size in value.shape:
        made.tensor_shape.dim.add(size=size)
    made.tensor_content = value.tobytes()
    return made


def typed(value: Array) -> tensorflow_pb2.TensorProto:
    """Return TensorFlow's message of an array in the field of its dtype."""
    made = packed(value)
    made.ClearField("tensor_content")
    field = FIELDS[value.dtype.name]
    if field == "half_val":
        value = value.view(np.uint16)
    elif value.dtype.kind == "c":
        value = value.view(np.float32 if value.dtype == np.complex64 else np.float64)
    getattr(made, field).extend(value.ravel().tolist())
    return made


@each_style
@pytest.mark.parametrize("dtype", VALUES)
@pytest.mark.parametrize("encoding", ["typed fields", "tensor_content"])
def test_numbers_come_back_as_they_were(
    client: Client, style: str, dtype: str, encoding: str
) -> None:
    """'tensor_content and typed fields': each dtype both ways, to the bit."""
    value = of_dtype(dtype)
    proto = typed(value) if encoding == "typed fields" else packed(value)
    assert array(proto).tobytes() == value.tobytes()
    answer = client.predict(spec(f"sampler_{style}", dtype), {"x": proto}).outputs["y"]
    assert answer.dtype == proto.dtype
    assert array(answer).tobytes() == value.tobytes()


@each_style
@pytest.mark.parametrize("shape", [(), (0,), (4,), (2, 2), (1, 4, 1), (2, 0, 3)], ids=str)
def test_shapes_come_back_as_they_were(client: Client, style: str, shape: tuple[int, ...]) -> None:
    """Scalars, empty tensors and any rank, where a signature declares none."""
    value = np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)
    answer = client.predict(spec(f"sampler_{style}", "float32"), {"x": value}).outputs["y"]
    assert [dim.size for dim in answer.tensor_shape.dim] == list(shape)
    assert array(answer).tobytes() == value.tobytes()


@each_style
def test_last_typed_value_repeats(client: Client, style: str) -> None:
    """As TensorFlow reads it: a constant of a million elements is one `float_val`."""
    proto = typed(np.array([1.0, 7.0], np.float32))
    proto.tensor_shape.dim[0].size = 4
    answer = client.predict(spec(f"sampler_{style}", "float32"), {"x": proto}).outputs["y"]
    assert array(answer).tolist() == [1.0, 7.0, 7.0, 7.0]


@each_style
@pytest.mark.parametrize("encoding", ["string_val", "tensor_content"])
def test_strings_come_back_as_they_were(client: Client, style: str, encoding: str) -> None:
    """'string tensors': any bytes, in their field or packed with their lengths."""
    proto = tensor(np.array(STRINGS, object))
    if encoding == "tensor_content":
        proto.ClearField("string_val")
        proto.tensor_content = bytes(len(text) for text in STRINGS) + b"".join(STRINGS)
    answer = client.predict(spec(f"sampler_{style}", "text"), {"x": proto}, "y_bytes")
    assert list(answer.outputs["y_bytes"].string_val) == STRINGS


@each_style
def test_strings_are_computed_with(client: Client, style: str) -> None:
    """Scalars of strings, too."""
    asked = spec(f"sampler_{style}", "text")
    many = client.predict(asked, {"x": [["ab"], ["c"]]}, "y").outputs["y"]
    assert array(many).tolist() == [[b"AB"], [b"C"]]
    one = client.predict(asked, {"x": "ab"}, "y").outputs["y"]
    assert (list(one.string_val), list(one.tensor_shape.dim)) == ([b"AB"], [])
