"""Requests held against the signature that they name, and sorted into what may run together."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from headrace.consumer.core.errors import InvalidRequest, UnknownSignature
from headrace.consumer.formats.request import Alike, Format
from headrace.consumer.platforms.platform import Array, Signature
from headrace.schemas.records import DEFAULT_SIGNATURE


class Member(NamedTuple):
    """Valid requests on their way into a run that differ in the values of their tensors only.

    `rows` is the common first dimension of the inputs of each; 0 rows are rows, too. Members with
    equal keys may share a run. Where the key is None, each request must run alone.

    Shapes: inputs are `(len(positions), *shape of one)`.
    """

    positions: Sequence[int]
    format: Format
    style: Hashable
    signature: Signature
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]
    rows: int
    key: Hashable

    @property
    def size_bytes(self) -> int:
        """The bytes of the inputs."""
        return sum([array.nbytes for array in self.inputs.values()])

    def part(self, start: int, stop: int) -> Member:
        """Return some of the requests."""
        if start == 0 and stop >= len(self.positions):
            return self
        inputs = {alias: array[start:stop] for alias, array in self.inputs.items()}
        return self._replace(positions=self.positions[start:stop], inputs=inputs)

    def chosen(self, places: Sequence[int]) -> Member:
        """Return the requests at these places among its own."""
        inputs = {alias: array[list(places)] for alias, array in self.inputs.items()}
        return self._replace(positions=[self.positions[place] for place in places], inputs=inputs)


def member(codec: Format, alike: Alike, signatures: Mapping[str, Signature]) -> Member:
    """Check requests against their signature.

    Raises:
        UnknownSignature: the model has no signature of that name.
        InvalidRequest: inputs or output filter do not fit it; the text names all that is wrong.
    """
    positions, request = alike
    name = request.signature or DEFAULT_SIGNATURE
    signature = signatures.get(name)
    if signature is None:
        raise UnknownSignature(
            f'Serving signature name: "{name}" not found in signature def; the model has: '
            f"{_listed(signatures)}"
        )
    given = request.inputs
    inputs = given
    if given.keys() != signature.inputs.keys():
        inputs = _completed(given, signature, len(positions))
    for alias, spec in signature.inputs.items():
        if inputs[alias].dtype != spec.dtype:
            raise InvalidRequest(
                f"input {alias!r} expects {_dtype_name(spec.dtype)} but "
                f"{_dtype_name(inputs[alias].dtype)} is provided"
            )
    outputs = _outputs(request.output_filter, signature)
    rows = _common_rows(inputs, signature) if inputs is given else None
    key = None
    if rows is None:
        rows = 1
    else:
        key = (name, outputs, *[inputs[alias].shape[2:] for alias in signature.inputs])
    return Member(positions, codec, request.style, signature, inputs, outputs, rows, key)


def _completed(given: Mapping[str, Array], signature: Signature, count: int) -> dict[str, Array]:
    """Return the inputs with the signature's defaults in place of those left out."""
    missing = signature.inputs.keys() - given.keys() - signature.defaults.keys()
    unexpected = given.keys() - signature.inputs.keys()
    if missing or unexpected:
        found = [f"missing: {_listed(missing)}"] if missing else []
        found += [f"unexpected: {_listed(unexpected)}"] if unexpected else []
        raise InvalidRequest(
            f"input size does not match signature: {'; '.join(found)}; the signature "
            f"{signature.name} wants {_listed(signature.inputs)}"
        )
    return {
        alias: given[alias] if alias in given else _repeated(signature.defaults[alias], count)
        for alias in signature.inputs
    }


def _repeated(array: Array, count: int) -> Array:
    return np.broadcast_to(array, (count, *array.shape))


def _outputs(wanted: tuple[str, ...], signature: Signature) -> tuple[str, ...]:
    if not wanted:
        return tuple(signature.outputs)
    for alias in wanted:
        if alias not in signature.outputs:
            raise InvalidRequest(
                f"output tensor alias not found in signature: {alias}; outputs expected to be in "
                f"the set {{{_listed(signature.outputs)}}}"
            )
    if len(set(wanted)) != len(wanted):
        twice = sorted({alias for alias in wanted if wanted.count(alias) > 1})
        raise InvalidRequest(f"duplicate output tensor alias: {_listed(twice)}")
    return wanted


def _common_rows(inputs: Mapping[str, Array], signature: Signature) -> int | None:
    """Return the rows of a request that may be stacked with others, or None."""
    if not signature.is_batchable:
        return None
    rows: int | None = None
    for alias, spec in signature.inputs.items():
        shape = inputs[alias].shape[1:]
        # With another rank than declared, the first dimension need not be the batch: a softmax
        # over the last dimension would run across the rows of other requests.
        if spec.shape is None or len(shape) != len(spec.shape):
            return None
        if rows is None:
            rows = shape[0]
        elif shape[0] != rows:
            return None
    return rows


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _dtype_name(dtype: np.dtype[Any]) -> str:
    return "string" if dtype.kind == "O" else dtype.name
