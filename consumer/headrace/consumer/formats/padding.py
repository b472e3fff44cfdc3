"""Requests of different lengths in one run: padded on the way in, cut to their own on the way out.

Inputs are padded as TensorFlow Serving does it: each tensor with its own first element, to the
longest of the batch, in the dimensions that the signature declares unknown. TensorFlow Serving
leaves the outputs as long as the longest; here each answer gets its own length back.

Source: tensorflow_serving/batching/batching_util.cc (AddPadding), 2.20.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np

from headrace.consumer.formats.members import Member
from headrace.consumer.platforms.platform import Array, Signature

MAX_PADDED_BYTES: Final = 1 << 28
"""Of the inputs of a run: one long request must not make a thousand short ones as long."""

InputAxis: TypeAlias = tuple[str, int]
"""The alias of an input and one of its axes; axis 0 are the rows."""

Cut: TypeAlias = dict[str, tuple[slice, ...]]
"""What of each output is a member's own."""


def may_be_padded(member: Member) -> Member:
    """Return a member with a key that others, of other lengths, have too."""
    if member.key is None:
        return member
    shapes: list[tuple[int | None, ...]] = []
    for alias, spec in member.signature.inputs.items():
        own = member.inputs[alias].shape[2:]
        if 0 in own:
            # Without a first element there is nothing to pad with.
            return member
        declared = (spec.shape or ())[1:]
        pairs = zip(declared, own, strict=True)
        shapes.append(tuple(None if known is None else size for known, size in pairs))
    return member._replace(key=(member.signature.name, member.outputs, *shapes))


def padded(batch: Sequence[Member]) -> Sequence[Member] | None:
    """Return members whose inputs have equal shapes; those given, when they have already.

    None, when that would take too much memory.
    """
    whole = {
        alias: tuple(map(max, zip(*(each.inputs[alias].shape[2:] for each in batch), strict=True)))
        for alias in batch[0].inputs
    }
    if all(each.inputs[alias].shape[2:] == whole[alias] for each in batch for alias in whole):
        return batch
    rows = sum(each.rows * len(each.positions) for each in batch)
    row_bytes = sum(
        math.prod(shape) * batch[0].inputs[alias].itemsize for alias, shape in whole.items()
    )
    if rows * row_bytes > MAX_PADDED_BYTES:
        return None
    return [
        each._replace(inputs={alias: _pad(each.inputs[alias], whole[alias]) for alias in whole})
        for each in batch
    ]


def _pad(array: Array, shape: tuple[int, ...]) -> Array:
    """Pad each request's tensor with its own first element.

    Shapes: `array` is `(requests, rows, …)`, and `shape` the dimensions after the rows.
    """
    if array.shape[2:] == shape:
        return array
    count, rows, *own = array.shape
    whole = np.empty((count, rows, *shape), array.dtype)
    if array.size:
        firsts = array.reshape(count, -1)[:, 0]
        whole[...] = firsts.reshape(count, *[1] * (array.ndim - 1))
        whole[(slice(None), slice(None), *map(slice, own))] = array
    return whole


class _OutputAxis:
    """What the runs so far tell of an axis of an output that is declared unknown.

    `followed` are the input axes that were as long as it in every run. `varies`, once it had two
    lengths: before that, it may have one of its own that an input's happens to equal.
    """

    def __init__(self, size: int, inputs: Mapping[InputAxis, int]) -> None:
        self._size = size
        self.varies = False
        self.followed = {axis for axis, length in inputs.items() if length == size}

    def observe(self, size: int, inputs: Mapping[InputAxis, int]) -> None:
        """Take one more run into account."""
        self.varies = self.varies or size != self._size
        self.followed = {axis for axis in self.followed if inputs[axis] == size}

    def own(self, size: int, inputs: Mapping[InputAxis, int]) -> int | None:
        """Return how much of `size` is a member's with these lengths; None while that is open."""
        if not self.followed:
            return size
        lengths = {inputs[axis] for axis in self.followed}
        if lengths == {size}:
            return size
        return lengths.pop() if self.varies and len(lengths) == 1 else None


class Lengths:
    """Which axis of an output is as long as which axis of an input, learned from run to run.

    A guess by equal lengths alone would cut ten scores of ten classes to three for a request of
    three words among others of ten.

    **Concurrency:** one caller at a time.
    """

    def __init__(self) -> None:
        self._axes: dict[tuple[str, str, int], _OutputAxis] = {}

    def observe(
        self, signature: Signature, inputs: Mapping[str, Array], outputs: Mapping[str, Array]
    ) -> None:
        """Learn from a run.

        Shapes: inputs and outputs begin with the rows.
        """
        lengths = _lengths(signature, {alias: array.shape for alias, array in inputs.items()})
        for alias, axis, size in _unknown(signature, outputs):
            key = (signature.name, alias, axis)
            known = self._axes.get(key)
            if known is None:
                self._axes[key] = _OutputAxis(size, lengths)
            else:
                known.observe(size, lengths)

    def cuts(self, batch: Sequence[Member], outputs: Mapping[str, Array]) -> list[Cut] | None:
        """Return what of the outputs of a padded run is each member's, but for the rows.

        None, while the runs so far leave it open: a run of each request alone will tell.

        Shapes: `batch` as it was before it was padded.
        """
        signature = batch[0].signature
        cuts: list[Cut] = []
        for each in batch:
            shapes = {alias: array.shape[1:] for alias, array in each.inputs.items()}
            lengths = _lengths(signature, shapes)
            slices = {alias: [slice(None)] * array.ndim for alias, array in outputs.items()}
            for alias, axis, size in _unknown(signature, outputs):
                own = self._axes[signature.name, alias, axis].own(size, lengths)
                if own is None:
                    return None
                slices[alias][axis] = slice(own)
            cuts.append({alias: tuple(found) for alias, found in slices.items()})
        return cuts


def _lengths(signature: Signature, shapes: Mapping[str, tuple[int, ...]]) -> dict[InputAxis, int]:
    """Return the lengths of the input axes, but for rows, that the signature leaves open."""
    return {
        (alias, axis): shapes[alias][axis]
        for alias, spec in signature.inputs.items()
        for axis, declared in enumerate(spec.shape or ())
        if axis and declared is None
    }


def _unknown(signature: Signature, outputs: Mapping[str, Array]) -> list[tuple[str, int, int]]:
    """Return the output axes, but for rows, that the signature leaves open, and their lengths."""
    return [
        (alias, axis, array.shape[axis])
        for alias, array in outputs.items()
        for axis, declared in enumerate(signature.outputs[alias].shape or ())
        if axis and declared is None and axis < array.ndim
    ]
