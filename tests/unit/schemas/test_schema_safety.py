"""Which schemas may be registered, and what registering does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fastavro import parse_schema

import headrace.schemas
from headrace.schemas.codec import SHIPPED, fingerprint_of
from headrace.schemas.errors import SchemaRefused, UnknownFingerprint
from headrace.schemas.records import ModelVersion
from headrace.schemas.schema_safety import MAX_DEPTH
from headrace.schemas.writer_schemas import (
    NAMES,
    WriterSchemas,
    load_current,
    shipped,
    vet,
)


def _record(field_type: object, name: str = "R") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": "f", "type": field_type}]}


def _doubling(levels: int) -> dict[str, Any]:
    """Return records in records, each twice in the next: 2^levels reads of no bytes."""
    inner: dict[str, Any] = _record("null", "L0")
    for level in range(1, levels):
        inner = {
            "type": "record",
            "name": f"L{level}",
            "fields": [{"name": "a", "type": inner}, {"name": "b", "type": f"L{level - 1}"}],
        }
    return inner


def _nested(levels: int) -> dict[str, Any]:
    items: Any = "long"
    for _ in range(levels):
        items = {"type": "array", "items": items}
    return _record(items)


EMPTY: dict[str, Any] = {"type": "record", "name": "Empty", "fields": []}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        pytest.param(_record("R"), "recursive", id="contains itself"),
        pytest.param(_record(["null", "R"]), "recursive", id="linked list"),
        pytest.param(_record({"type": "array", "items": "R"}), "recursive", id="tree"),
        pytest.param(_record({"type": "map", "values": "R"}), "recursive", id="tree by name"),
        pytest.param(_record(_record(["null", "R"], "Q")), "R → Q → R", id="by way of another"),
        pytest.param(_record({"type": "array", "items": "null"}), "take no bytes", id="nulls"),
        pytest.param(_record({"type": "array", "items": EMPTY}), "take no bytes", id="empties"),
        pytest.param(_record({"type": "map", "values": "null"}), "take no bytes", id="map"),
        pytest.param(
            _record({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}),
            "take no bytes",
            id="fixed of no size",
        ),
        pytest.param(
            _record({"type": "array", "items": _record("null", "Q")}),
            "take no bytes",
            id="record of nulls",
        ),
        pytest.param(_doubling(30), "more than 10000 fields", id="doubling"),
        pytest.param(_nested(MAX_DEPTH + 1), "nest deeper", id="deep"),
        pytest.param(_nested(5000), "not an Avro schema", id="too deep to parse"),
        pytest.param("long", "not an Avro schema", id="bare word"),
        pytest.param('"long"', "no record", id="no record"),
        pytest.param('["null", "long"]', "no record", id="union"),
        pytest.param("{", "not an Avro schema", id="cut JSON"),
        pytest.param(b"\xff", "not an Avro schema", id="not UTF-8"),
        pytest.param({}, "not an Avro schema", id="no type"),
        pytest.param(_record("Unheard"), "not an Avro schema", id="unknown type"),
        pytest.param(_record("long", 'R","x":"'), "names that", id="quotes in the name"),
        pytest.param(
            {**_record(_record("long", "Q") | {"namespace": ""}), "namespace": "n"},
            "names that",
            id="namespace left and lost",
        ),
    ],
)
def test_refuses_unsafe_schemas(schema: Any, text: str) -> None:  # noqa: ANN401 - that is the test
    """A schema that could exhaust its reader, or is none, is refused in words."""
    writers = WriterSchemas()
    with pytest.raises(SchemaRefused, match=text):
        writers.register(schema)


def test_accepts_a_type_used_twice_beside_itself() -> None:
    """A type named a second time after its definition is no recursion."""
    schema = {
        "type": "record",
        "name": "R",
        "fields": [
            {"name": "a", "type": _record("long", "Q")},
            {"name": "b", "type": {"type": "array", "items": "Q"}},
            {"name": "c", "type": ["null", "Q"]},
        ],
    }
    assert len(WriterSchemas().register(schema)) == 10


def test_takes_text_bytes_and_values_alike() -> None:
    """One schema has one header, in whatever form it is given, docs and defaults aside."""
    value = load_current("ModelVersion")
    bare = json.loads(json.dumps(value))
    del bare["doc"]
    bare["fields"][1]["doc"] = "other words"
    headers = {
        WriterSchemas().register(form)
        for form in (value, json.dumps(value), json.dumps(value).encode(), bare)
    }
    assert headers == {fingerprint_of(ModelVersion)}


def test_drops_logical_types() -> None:
    """A writer's logical type does not turn our numbers into other objects."""
    logical = _record({"type": "long", "logicalType": "timestamp-millis"})
    assert vet(logical).header == vet(_record("long")).header
    assert "logicalType" not in json.dumps(vet(logical).parsed)


def test_registering_in_one_place_leaves_others_alone() -> None:
    """A registered schema is known where it was registered, and nowhere else."""
    header = WriterSchemas().register(_record("long"))
    with pytest.raises(UnknownFingerprint, match="10 schemas are known"):
        SHIPPED.find(header)


def test_ships_todays_schemas_and_those_of_the_history_folder(tmp_path: Path) -> None:
    """A schema moved to `history/` stays readable; other files there are not schemas."""
    package = Path(headrace.schemas.__path__[0])
    for name in NAMES:
        shutil.copy(package / f"{name}.avsc", tmp_path)
    history = tmp_path / "history"
    history.mkdir()
    (history / "README.md").write_text("not a schema")
    old = load_current("ModelVersion")
    del old["fields"][-1]
    (history / "ModelVersion.0.avsc").write_text(json.dumps(old))
    headers = [schema.header for schema in shipped(tmp_path)]
    assert headers == [*(vet(load_current(name)).header for name in NAMES), vet(old).header]


@pytest.mark.parametrize("name", NAMES)
def test_todays_schemas_are_valid_and_documented(name: str) -> None:
    """Every field says what it means, and every default fits its type."""
    schema = load_current(name)
    parse_schema(schema)
    assert all(field["doc"].endswith(".") for field in schema["fields"])
