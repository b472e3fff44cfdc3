"""The JSON of TensorFlow Serving's REST `:predict`: rows ("instances") or columns ("inputs").

A request in rows is answered in rows ("predictions"), one in columns in columns ("outputs").
JSON does not say what a number is, so the signature does.

Source: tensorflow_serving/util/json_tensor.cc, 2.20.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from typing import NamedTuple, cast

import msgspec

from headrace.consumer.core.errors import InvalidRequest, UnreadableRequest
from headrace.consumer.formats.json_tensors import Json, is_bytes, to_array, to_json
from headrace.consumer.formats.request import InferRequest
from headrace.consumer.platforms.platform import Array, Signature
from headrace.schemas.records import DEFAULT_SIGNATURE


class Style(NamedTuple):
    """What an answer takes from its request besides the outputs."""

    is_rows: bool


class TensorFlowJson:
    """The format of the REST predict call.

    **Concurrency:** one caller at a time.
    """

    def __init__(self, signatures: Mapping[str, Signature]) -> None:
        """Read and write for a model with these signatures."""
        self._signatures = signatures

    def read(self, payload: bytes) -> InferRequest | InvalidRequest:
        """Return the request in a payload and the style of its answer, or what is wrong with it."""
        try:
            body = _parsed(payload)
            name = body.get("signature_name", DEFAULT_SIGNATURE)
            if not isinstance(name, str):
                raise InvalidRequest("'signature_name' must be a string")
            signature = self._signatures.get(name or DEFAULT_SIGNATURE)
            if signature is None:
                raise InvalidRequest(
                    f'Serving signature name: "{name}" not found in signature def; the model has: '
                    f"{', '.join(sorted(self._signatures)) or 'none'}"
                )
            if ("instances" in body) == ("inputs" in body):
                raise InvalidRequest(
                    "a request has either 'instances' (rows) or 'inputs' (columns)"
                )
            if "instances" in body:
                inputs = _rows(body["instances"], signature)
            else:
                inputs = _columns(body["inputs"], signature)
        except InvalidRequest as error:
            return error
        return InferRequest(signature.name, inputs, (), Style("instances" in body))

    def write(self, signature: str, outputs: Mapping[str, Array], style: Hashable) -> bytes:  # noqa: ARG002 - an answer does not name it
        """Return the body of the answer with these outputs.

        Raises:
            ValueError: this encoding cannot carry an output; the text says which.
        """
        assert isinstance(style, Style)
        shown = {alias: to_json(alias, array) for alias, array in outputs.items()}
        if not style.is_rows:
            whole = next(iter(shown.values())) if len(shown) == 1 else cast("Json", shown)
            return _encoded({"outputs": whole})
        counts = {array.shape[:1] for array in outputs.values()}
        if () in counts or len(counts) > 1:
            raise ValueError(
                "the outputs are not a row for each instance; ask in columns, with 'inputs' "
                "instead of 'instances'"
            )
        columns = cast("list[list[Json]]", list(shown.values()))
        if len(columns) == 1:
            return _encoded({"predictions": columns[0]})
        rows = zip(*columns, strict=True)
        return _encoded({"predictions": [dict(zip(shown, row, strict=True)) for row in rows]})


def _parsed(payload: bytes) -> dict[str, Json]:
    try:
        body = cast("Json", msgspec.json.decode(payload))
    except (msgspec.MsgspecError, RecursionError):
        body = _parsed_leniently(payload)
    if not isinstance(body, dict):
        raise UnreadableRequest("not a predict request: expected a JSON object")
    return body


def _parsed_leniently(payload: bytes) -> Json:
    """Return what a body with NaN, Infinity, or a number past all floats means."""
    try:
        # `bytes` would be taken for UTF-16 or UTF-32 as well.
        return cast("Json", json.loads(payload.decode()))
    except (ValueError, RecursionError) as error:
        detail = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UnreadableRequest(f"not JSON: {detail}") from error


def _rows(instances: Json, signature: Signature) -> dict[str, Array]:
    if not isinstance(instances, list) or not instances:
        raise InvalidRequest("'instances' must be a list with one element at least")
    first = instances[0]
    if not isinstance(first, dict) or is_bytes(first):
        return {_only_input(signature): _array(_only_input(signature), instances, signature)}
    columns: dict[str, list[Json]] = {alias: [] for alias in first}
    for place, row in enumerate(instances):
        if not isinstance(row, dict) or row.keys() != columns.keys():
            raise InvalidRequest(
                f"instance {place} differs from instance 0 in form; every instance is an object "
                f"with the same inputs: {', '.join(sorted(first)) or 'none'}"
            )
        for alias, value in row.items():
            columns[alias].append(value)
    unexpected = columns.keys() - signature.inputs.keys()
    if unexpected:
        raise InvalidRequest(
            f"unexpected inputs: {', '.join(sorted(unexpected))}; the signature {signature.name} "
            f"wants {', '.join(sorted(signature.inputs)) or 'none'}"
        )
    return {alias: _array(alias, column, signature) for alias, column in columns.items()}


def _columns(inputs: Json, signature: Signature) -> dict[str, Array]:
    if isinstance(inputs, dict) and not is_bytes(inputs):
        # Keys that the signature does not have are ignored, as TensorFlow Serving does.
        given = [alias for alias in signature.inputs if alias in inputs]
        return {alias: _array(alias, inputs[alias], signature) for alias in given}
    return {_only_input(signature): _array(_only_input(signature), inputs, signature)}


def _only_input(signature: Signature) -> str:
    if len(signature.inputs) != 1:
        raise InvalidRequest(
            f"the signature {signature.name} has {len(signature.inputs)} inputs, so each value "
            f"needs its name: {', '.join(sorted(signature.inputs)) or 'none'}"
        )
    return next(iter(signature.inputs))


def _array(alias: str, value: Json, signature: Signature) -> Array:
    try:
        return to_array(value, signature.inputs[alias].dtype)
    except ValueError as error:
        raise InvalidRequest(f"input {alias!r}: {error}") from error


def _encoded(body: dict[str, Json]) -> bytes:
    encoded = msgspec.json.encode(body)
    # msgspec writes a number that JSON has not as null, and nothing else here is one.
    return json.dumps(body).encode() if b"null" in encoded else encoded
