"""Requests held against the signature that they name, and sorted into what may run together."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from headrace.consumer.core.errors import InvalidRequest, UnknownSignature
from headrace.consumer.formats.request import Format, InferRequest
from headrace.consumer.platforms.platform import Array, Signature
from headrace.schemas.records import DEFAULT_SIGNATURE


class Member(NamedTuple):
    """One valid request on its way into a run.

    `rows` is the common first dimension of its inputs; 0 rows are rows, too. Members with equal
    keys may share a run. A member that must run alone has the key None.

    Units: `deadline_seconds` is monotonic time.
    """

    position: int
    deadline_seconds: float
    format: Format
    signature: Signature
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]
    rows: int
    key: Hashable


def member(
    position: int,
    deadline_seconds: float,
    codec: Format,
    request: InferRequest,
    signatures: Mapping[str, Signature],
) -> Member:
    """Check a request against its signature.

    Raises:
        UnknownSignature: the model has no signature of that name.
        InvalidRequest: inputs or output filter do not fit it; the text names all that is wrong.
    """
    name = request.signature or DEFAULT_SIGNATURE
    signature = signatures.get(name)
    if signature is None:
        raise UnknownSignature(
            f'Serving signature name: "{name}" not found in signature def; the model has: '
            f"{_listed(signatures)}"
        )
    given = request.inputs
    inputs: Mapping[str, Array] = given
    if given.keys() != signature.inputs.keys():
        inputs = _completed(given, signature)
    for alias, spec in signature.inputs.items():
        if inputs[alias].dtype != spec.dtype:
            raise InvalidRequest(
                f"input {alias!r} expects {_dtype_name(spec.dtype)} but "
                f"{_dtype_name(inputs[alias].dtype)} is provided"
            )
    outputs = _outputs(request.output_filter, signature)
    rows = _common_rows(inputs, signature) if inputs is given else None
    if rows is None:
        return Member(position, deadline_seconds, codec, signature, inputs, outputs, 1, None)
    key = (name, outputs, *[inputs[alias].shape[1:] for alias in signature.inputs])
    return Member(position, deadline_seconds, codec, signature, inputs, outputs, rows, key)


def _completed(given: Mapping[str, Array], signature: Signature) -> dict[str, Array]:
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
    return {a: given[a] if a in given else signature.defaults[a] for a in signature.inputs}


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
        shape = inputs[alias].shape
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
