"""Every datatype of the protocol: how it travels, and what the tests send of it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.conformance.open_inference.clients import prefixed


@dataclass(frozen=True)
class Kind:
    """A datatype, the model's signature for it, and a tensor [2, 2] of it both ways."""

    datatype: str
    signature: str
    field: str
    values: Sequence[Any]
    packing: str = ""

    @property
    def raw(self) -> bytes:
        """The tensor packed."""
        return self.pack(self.values)

    def pack(self, values: Sequence[Any]) -> bytes:
        """Return values in little-endian order without padding, as the standard library has it."""
        if self.datatype == "BYTES":
            return prefixed(*values)
        if self.datatype == "BF16":
            return b"".join(struct.pack("<f", value)[2:] for value in values)
        return struct.pack(f"<{len(values)}{self.packing}", *values)


def whole(bits: int, packing: str, field: str) -> Kind:
    """Return a signed kind, or with a capital letter an unsigned one, with its extremes."""
    if packing.isupper():
        values: Sequence[int] = [0, 1, 2 ** (bits - 1), 2**bits - 1]
        return Kind(f"UINT{bits}", f"uint{bits}", field, values, packing)
    values = [0, -1, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1]
    return Kind(f"INT{bits}", f"int{bits}", field, values, packing)


KINDS = {
    "BOOL 1": Kind("BOOL", "bool", "bool_contents", [True, False, False, True], "?"),
    "UINT8 1": whole(8, "B", "uint_contents"),
    "UINT16 2": whole(16, "H", "uint_contents"),
    "UINT32 4": whole(32, "I", "uint_contents"),
    "UINT64 8": whole(64, "Q", "uint64_contents"),
    "INT8 1": whole(8, "b", "int_contents"),
    "INT16 2": whole(16, "h", "int_contents"),
    "INT32 4": whole(32, "i", "int_contents"),
    "INT64 8": whole(64, "q", "int64_contents"),
    "FP16 2": Kind("FP16", "float16", "", [0.0, -1.5, 65504.0, float("inf")], "e"),
    "BF16 2": Kind("BF16", "bfloat16", "", [0.0, -1.5, 2.0**100, float("inf")]),
    "FP32 4": Kind("FP32", "float32", "fp32_contents", [-0.0, 1.5, 2.0**-149, float("-inf")], "f"),
    "FP64 8": Kind("FP64", "float64", "fp64_contents", [0.1, -1e300, 5e-324, float("inf")], "d"),
    "BYTES variable": Kind(
        "BYTES", "string", "bytes_contents", [b"", b"\x00\xff", b"a" * 300, b"b"]
    ),
}
