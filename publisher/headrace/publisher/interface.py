"""What a model can be asked, as far as its files tell without what runs it.

Owns what the readers of the single kinds return, and how much of it an event carries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headrace.schemas.records import SignatureSpec

MAX_BYTES: Final = 256 * 1024
"""How much of an event its interface may take: a control record is 1 MiB at most."""
# Of a tensor besides its name: a dtype, and the lengths that Avro writes.
_TENSOR_BYTES: Final = 24
_DIMENSION_BYTES: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """The names of a model's signatures, and those of them whose tensors could be read too."""

    names: tuple[str, ...]
    signatures: tuple[SignatureSpec, ...] = ()


def bounded(signatures: Sequence[SignatureSpec]) -> tuple[SignatureSpec, ...]:
    """Return as many of the signatures, in their order, as an event has room for."""
    room, kept = MAX_BYTES, list[SignatureSpec]()
    for signature in signatures:
        room -= _size_bytes(signature)
        if room < 0:
            break
        kept.append(signature)
    return tuple(kept)


def _size_bytes(signature: SignatureSpec) -> int:
    tensors = [*signature.inputs, *signature.outputs]
    dimensions = sum(len(each.shape or ()) for each in tensors)
    names = [signature.name, *(each.name for each in tensors)]
    letters = sum(len(name.encode()) for name in names)
    return letters + _TENSOR_BYTES * (1 + len(tensors)) + _DIMENSION_BYTES * dimensions
