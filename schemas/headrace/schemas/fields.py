"""Each record as the fields that Avro carries, and back.

One pair of functions a class, written out: at a few hundred thousand records a second a generic
walk over the dataclasses would be the largest cost. Unions are given to fastavro as
`(branch, value)`, which spares it trying every branch. What fastavro hands out is copied, as a
default belongs to the schema: sequences into tuples, maps into dicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from headrace.schemas.errors import Unencodable
from headrace.schemas.records import (
    InferenceError,
    InferenceRequest,
    InferenceResponse,
    NodeStatus,
    ServableState,
    ServableStatus,
    Tensor,
)

Fields: TypeAlias = dict[str, Any]

_NULL: Final = ("null", None)
_STATES: Final = {str(member): member for member in ServableState}


def _or_null(branch: str, value: object) -> tuple[str, object]:
    """Return the value as the given branch of a union with null."""
    return _NULL if value is None else (branch, value)


def items(field: str, values: Sequence[Any]) -> list[Any]:
    """Return the items of a sequence, and refuse the one sequence that is always a mistake."""
    if isinstance(values, str | bytes):
        raise Unencodable(f"{field} is one {type(values).__name__}; expected a sequence of them")
    return list(values)


def from_node_status(record: NodeStatus) -> Fields:
    """Return the fields of a NodeStatus."""
    servable = record.servable
    return {
        "node": record.node,
        "incarnation": record.incarnation,
        "at_ms": record.at_ms,
        "control_offset": record.control_offset,
        "is_ready": record.is_ready,
        "heartbeat_interval_ms": record.heartbeat_interval_ms,
        "grpc_endpoint": record.grpc_endpoint,
        "http_endpoint": record.http_endpoint,
        "control_errors": items("control_errors", record.control_errors),
        "servable": _NULL
        if servable is None
        else ("headrace.ServableStatus", _from_servable_status(servable)),
    }


def to_node_status(fields: Fields) -> NodeStatus:
    """Return the NodeStatus that has these fields."""
    servable = fields["servable"]
    return NodeStatus(
        node=fields["node"],
        incarnation=fields["incarnation"],
        at_ms=fields["at_ms"],
        control_offset=fields["control_offset"],
        is_ready=fields["is_ready"],
        heartbeat_interval_ms=fields["heartbeat_interval_ms"],
        grpc_endpoint=fields["grpc_endpoint"],
        http_endpoint=fields["http_endpoint"],
        control_errors=tuple(fields["control_errors"]),
        servable=None if servable is None else _to_servable_status(servable),
    )


def _from_servable_status(record: ServableStatus) -> Fields:
    return {
        "model": record.model,
        "version": record.version,
        "state": record.state,
        "control_offset": record.control_offset,
        "attempt": record.attempt,
        "error": _or_null("string", record.error),
    }


def _to_servable_status(fields: Fields) -> ServableStatus:
    return ServableStatus(
        model=fields["model"],
        version=fields["version"],
        state=_STATES[fields["state"]],
        control_offset=fields["control_offset"],
        attempt=fields["attempt"],
        error=fields["error"],
    )


def _from_tensor(record: Tensor) -> Fields:
    return {
        "name": record.name,
        "dtype": record.dtype,
        "shape": list(record.shape),
        "data": record.data,
        "strings": items("strings", record.strings),
    }


def _to_tensor(fields: Fields) -> Tensor:
    data = fields["data"]
    return Tensor(
        name=fields["name"],
        dtype=fields["dtype"],
        shape=tuple(fields["shape"]),
        # fastavro hands a bytes default out as the text that the schema has for it.
        data=data if isinstance(data, bytes) else data.encode("latin-1"),
        strings=tuple(fields["strings"]),
    )


def from_inference_request(record: InferenceRequest) -> Fields:
    """Return the fields of an InferenceRequest."""
    return {
        "model": record.model,
        "version": _or_null("long", record.version),
        "label": _or_null("string", record.label),
        "signature": record.signature,
        "output_filter": items("output_filter", record.output_filter),
        "inputs": [_from_tensor(tensor) for tensor in record.inputs],
    }


def to_inference_request(fields: Fields) -> InferenceRequest:
    """Return the InferenceRequest that has these fields."""
    return InferenceRequest(
        model=fields["model"],
        version=fields["version"],
        label=fields["label"],
        signature=fields["signature"],
        output_filter=tuple(fields["output_filter"]),
        inputs=tuple([_to_tensor(tensor) for tensor in fields["inputs"]]),
    )


def from_inference_response(record: InferenceResponse) -> Fields:
    """Return the fields of an InferenceResponse."""
    error = record.error
    return {
        "model": record.model,
        "version": _or_null("long", record.version),
        "signature": record.signature,
        "outputs": [_from_tensor(tensor) for tensor in record.outputs],
        "error": _NULL
        if error is None
        else ("headrace.InferenceError", {"code": error.code, "message": error.message}),
    }


def to_inference_response(fields: Fields) -> InferenceResponse:
    """Return the InferenceResponse that has these fields."""
    error = fields["error"]
    return InferenceResponse(
        model=fields["model"],
        version=fields["version"],
        signature=fields["signature"],
        outputs=tuple([_to_tensor(tensor) for tensor in fields["outputs"]]),
        error=None
        if error is None
        else InferenceError(code=error["code"], message=error["message"]),
    )
