"""Schemas of yesterday, today and tomorrow read each other's records."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Final, cast

import pytest
from fastavro import (
    parse_schema,
    schemaless_writer,  # pyright: ignore[reportUnknownVariableType]
)

from headrace.schemas import single_object
from headrace.schemas.codec import SHIPPED, decode, encode
from headrace.schemas.errors import Undecodable, UnknownFingerprint
from headrace.schemas.records import (
    InferenceRequest,
    InferenceResponse,
    LargeRequests,
    ModelConfig,
    ModelVersion,
    NodeStatus,
    Preserving,
    Record,
    ServableState,
    Tensor,
)
from headrace.schemas.writer_schemas import HEADER_BYTES, WriterSchemas, load_current, vet

GOLDEN: Final = Path(__file__).parents[2] / "golden" / "records-1.json"
MAX_BYTES: Final = 10_000

Schema = dict[str, Any]
VERSION: Final[Schema] = {
    "model": "ranker",
    "version": 43,
    "uri": "/m/43",
    "digest": "sha256:0",
    "size_bytes": 5,
}
STATUS: Final[Schema] = {"node": "n", "incarnation": 1, "at_ms": 2, "control_offset": 3}
SERVABLE: Final[Schema] = {"model": "m", "version": 4, "control_offset": 3}


def _field(schema: Schema, *path: str) -> Schema:
    """Return the definition of a field, given the names of the fields that lead to it."""
    field: Schema = {}
    for name in path:
        field = next(each for each in schema["fields"] if each["name"] == name)
        kind: Any = field["type"]
        schema = cast("Schema", kind[-1] if isinstance(kind, list) else kind)
    return field


def _written(schema: Schema, datum: Schema) -> tuple[bytes, WriterSchemas]:
    """Return a record of a schema of another day, and the schemas that know it."""
    writers = WriterSchemas()
    out = BytesIO(writers.register(schema))
    out.seek(0, 2)
    schemaless_writer(out, parse_schema(schema), datum)
    return out.getvalue(), writers


def _grown(name: str) -> Schema:
    """Return a schema with fields that today's does not have, at the end and deeper inside."""
    schema = load_current(name)
    schema["fields"] += [
        {"name": "region", "type": "string", "default": "nowhere"},
        {"name": "costs", "type": {"type": "map", "values": "double"}, "default": {}},
        {"name": "blob", "type": ["null", "bytes"], "default": None},
    ]
    return schema


@pytest.mark.parametrize(
    ("name", "record_type", "datum"),
    [
        ("ModelVersion", ModelVersion, VERSION),
        ("ModelConfig", ModelConfig, {"model": "ranker"}),
        ("NodeStatus", NodeStatus, {**STATUS, "servable": {**SERVABLE, "state": "END"}}),
        ("InferenceRequest", InferenceRequest, {"model": "ranker", "version": 3}),
        ("InferenceResponse", InferenceResponse, {"model": "ranker", "error": {"code": "X"}}),
    ],
)
def test_old_reader_ignores_new_fields(name: str, record_type: type[Record], datum: Schema) -> None:
    """Today's reader gets from a record of tomorrow what one of today would have said."""
    more = {"region": "north", "costs": {"a": 1.5}, "blob": b"tomorrow"}
    data, writers = _written(_grown(name), {**datum, **more})
    today, _ = _written(load_current(name), datum)
    assert decode(data, record_type, writers=writers) == decode(today, record_type)


def test_old_reader_refuses_a_new_record_cut_at_any_byte() -> None:
    """A cut within a field that today's reader skips is noticed like any other."""
    data, writers = _written(_grown("ModelVersion"), {**VERSION, "blob": b"tomorrow"})
    for size in range(len(data)):
        with pytest.raises(Undecodable):
            decode(data[:size], ModelVersion, writers=writers)
    with pytest.raises(Undecodable, match="ends at byte"):
        decode(data + b"\x00", ModelVersion, writers=writers)


def test_old_reader_ignores_new_fields_of_tensors() -> None:
    """Records inside records may grow, too."""
    schema = load_current("InferenceRequest")
    tensor = schema["fields"][5]["type"]["items"]
    tensor["fields"].append({"name": "layout", "type": "string", "default": "rows"})
    sent = {"name": "x", "dtype": "int8", "shape": [2], "data": b"\x01\x02", "layout": "columns"}
    data, writers = _written(schema, {"model": "m", "inputs": [sent, sent]})
    wanted = Tensor(name="x", dtype="int8", shape=(2,), data=b"\x01\x02")
    assert decode(data, InferenceRequest, writers=writers).inputs == (wanted, wanted)


def test_unknown_state_reads_as_under_way() -> None:
    """A state of tomorrow is taken neither for success nor for failure."""
    schema = load_current("NodeStatus")
    _field(schema, "servable", "state")["type"]["symbols"].append("WARMING")
    datum = {**STATUS, "servable": {**SERVABLE, "state": "WARMING"}}
    data, writers = _written(schema, datum)
    servable = decode(data, NodeStatus, writers=writers).servable
    assert servable is not None
    assert servable.state is ServableState.LOADING


def test_unknown_preserving_reads_as_availability() -> None:
    """A new way of changing versions falls back to the one that never stops answering."""
    schema = load_current("ModelConfig")
    _field(schema, "preserving")["type"]["symbols"].append("PARKED")
    data, writers = _written(schema, {"model": "m", "preserving": "PARKED"})
    assert decode(data, ModelConfig, writers=writers).preserving is Preserving.AVAILABILITY


def test_unknown_treatment_of_large_requests_reads_as_run_whole() -> None:
    """What becomes of a large request falls back to the one way that answers it."""
    schema = load_current("ModelConfig")
    _field(schema, "batching", "large_requests")["type"]["symbols"].append("SHED")
    data, writers = _written(schema, {"model": "m", "batching": {"large_requests": "SHED"}})
    batching = decode(data, ModelConfig, writers=writers).batching
    assert batching.large_requests is LargeRequests.RUN_WHOLE


@pytest.mark.parametrize(
    ("name", "record_type", "path", "datum"),
    [
        ("ModelVersion", ModelVersion, ("lifecycle",), {**VERSION, "lifecycle": "HELD"}),
        (
            "ModelConfig",
            ModelConfig,
            ("policy", "kind"),
            {"model": "m", "policy": {"kind": "HELD"}},
        ),
    ],
)
def test_refuses_orders_it_does_not_understand(
    name: str, record_type: type[Record], path: tuple[str, ...], datum: Schema
) -> None:
    """An unknown lifecycle or policy is no guess: the record is refused, what is served stays."""
    schema = load_current(name)
    _field(schema, *path)["type"]["symbols"].append("HELD")
    data, writers = _written(schema, datum)
    with pytest.raises(Undecodable, match="HELD not found in reader symbol list"):
        decode(data, record_type, writers=writers)


def test_new_symbols_in_the_schema_alone_do_no_harm() -> None:
    """A record of tomorrow's schema that uses no new symbol reads as ever."""
    schema = load_current("ModelVersion")
    _field(schema, "lifecycle")["type"]["symbols"].append("HELD")
    data, writers = _written(schema, {**VERSION, "lifecycle": "PUBLISHED"})
    assert decode(data, ModelVersion, writers=writers).version == 43


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("ModelVersion", "metadata"),
        ("ModelVersion", "signatures"),
        ("ModelVersion", "lifecycle"),
        ("ModelVersion", "interface"),
        ("ModelVersion", "validation"),
        ("ModelConfig", "batching"),
        ("ModelConfig", "shadow"),
        ("ModelConfig", "previous"),
        ("ModelConfig", "replicas"),
        ("NodeStatus", "control_errors"),
        ("InferenceRequest", "output_filter"),
        ("InferenceResponse", "error"),
    ],
)
def test_fields_that_a_writer_lacks_take_the_defaults_of_the_dataclass(
    name: str, lost: str
) -> None:
    """The defaults of the schemas and of the dataclasses are the same."""
    least: dict[str, Record] = {
        "ModelVersion": ModelVersion(**VERSION),
        "ModelConfig": ModelConfig(model="m"),
        "NodeStatus": NodeStatus(**STATUS),
        "InferenceRequest": InferenceRequest(model="m"),
        "InferenceResponse": InferenceResponse(model="m"),
    }
    record = least[name]
    schema = load_current(name)
    schema["fields"] = [field for field in schema["fields"] if field["name"] != lost]
    datum = {"ModelVersion": VERSION, "NodeStatus": STATUS}.get(name, {"model": "m"})
    data, writers = _written(schema, datum)
    assert decode(data, type(record), writers=writers) == record


def test_defaults_are_not_shared_between_records() -> None:
    """What somebody does to one record's map does not reach the next record."""
    schema = load_current("ModelVersion")
    schema["fields"] = [field for field in schema["fields"] if field["name"] != "metadata"]
    data, writers = _written(schema, VERSION)
    first, second = (decode(data, ModelVersion, writers=writers) for _ in range(2))
    cast("dict[str, str]", first.metadata)["auc"] = "0.9"
    assert second.metadata == {}
    assert decode(data, ModelVersion, writers=writers).metadata == {}


def test_writer_of_tensors_may_leave_out_data_or_strings() -> None:
    """A writer that only ever sends strings needs no field for numbers."""
    schema = load_current("InferenceRequest")
    tensor = schema["fields"][5]["type"]["items"]
    tensor["fields"] = [field for field in tensor["fields"] if field["name"] != "data"]
    sent = {"name": "x", "dtype": "string", "shape": [1], "strings": [b"a"]}
    data, writers = _written(schema, {"model": "m", "inputs": [sent]})
    (received,) = decode(data, InferenceRequest, writers=writers).inputs
    assert received == Tensor(name="x", dtype="string", shape=(1,), strings=(b"a",))


def test_new_reader_reads_golden_bytes() -> None:
    """A reader of tomorrow, with more fields and symbols, reads the bytes of the first day."""
    grown = _grown("ModelVersion")
    _field(grown, "lifecycle")["type"]["symbols"].append("HELD")
    golden = bytes.fromhex(json.loads(GOLDEN.read_text())["ModelVersion full"])
    fields = single_object.read(
        golden, SHIPPED, expected=vet(grown), reader=parse_schema(grown), max_bytes=MAX_BYTES
    )
    assert (fields["version"], fields["lifecycle"]) == (2**63 - 1, "RETIRED")
    assert (fields["region"], fields["costs"], fields["blob"]) == ("nowhere", {}, None)


def _renamed(schema: Schema) -> None:
    schema["fields"][1]["name"] = "number"


def _retyped(schema: Schema) -> None:
    schema["fields"][1]["type"] = "string"


@pytest.mark.parametrize("breaks", [_renamed, _retyped])
def test_refuses_records_of_schemas_that_broke_the_rules(
    breaks: Callable[[Schema], None],
) -> None:
    """A renamed or retyped field is reported, not filled with something else."""
    schema = load_current("ModelVersion")
    breaks(schema)
    data, writers = _written(schema, {**VERSION, "number": 1, "version": "1"})
    with pytest.raises(Undecodable, match="does not fit the one here"):
        decode(data, ModelVersion, writers=writers)


def test_refuses_another_record_of_a_registered_schema() -> None:
    """A record that merely looks alike is not taken for ours."""
    schema = load_current("InferenceRequest")
    schema["namespace"] = "elsewhere"
    data, writers = _written(schema, {"model": "m"})
    with pytest.raises(Undecodable, match=r"hold elsewhere\.InferenceRequest where headrace"):
        decode(data, InferenceRequest, writers=writers)


def test_unregistered_schemas_are_unknown() -> None:
    """A schema of tomorrow is unknown until it is registered, whatever the bytes say."""
    data, _ = _written(_grown("ModelVersion"), VERSION)
    with pytest.raises(UnknownFingerprint, match=data[2:HEADER_BYTES].hex()):
        decode(data, ModelVersion)


def test_records_of_today_need_no_registration() -> None:
    """A reader that knows more schemas still reads today's directly."""
    _, writers = _written(_grown("ModelVersion"), VERSION)
    record = ModelVersion(**VERSION)
    assert decode(encode(record), ModelVersion, writers=writers) == record
