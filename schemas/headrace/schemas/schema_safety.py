"""Which writer schemas can be read without letting a few bytes exhaust the reader.

fastavro follows a schema blindly: 8 KB under a recursive schema overflow the C stack and end the
process, and 5 bytes under `array<null>` build a list of 50 million items (both seen with 1.13.1).
So such schemas are refused when they are registered, before any bytes are read with them.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from headrace.schemas.errors import SchemaRefused

# Avro's JSON as fastavro takes it.
AvroJson: TypeAlias = "str | list[Any] | dict[str, Any]"

MAX_FIELDS: Final = 10_000
MAX_DEPTH: Final = 64

_PRIMITIVES: Final = frozenset(
    {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}
)


class _Survey:
    """One walk over a schema in canonical form.

    `open_names` are the records around the current spot, `widths` the fewest bytes that a named
    type takes on the wire, `fields` how many fields one value of it has, all levels counted.

    **Concurrency:** used by one call.
    """

    def __init__(self) -> None:
        self.open_names: list[str] = []
        self.measures: dict[str, tuple[int, int]] = {}

    def measure(self, schema: AvroJson, depth: int = 0) -> tuple[int, int]:
        """Return the fewest bytes of a value of `schema` and the number of its fields."""
        if depth > MAX_DEPTH:
            raise SchemaRefused(f"types nest deeper than {MAX_DEPTH}")
        if isinstance(schema, str):
            return self._measure_named(schema)
        if isinstance(schema, list):
            branches = [self.measure(branch, depth + 1) for branch in schema]
            # The branch's number takes a byte, whatever follows.
            return 1, max((fields for _, fields in branches), default=0)
        kind = schema["type"]
        if kind in ("array", "map"):
            self._check_items(kind, schema["items" if kind == "array" else "values"], depth)
            return 1, 1
        if kind == "record":
            return self._measure_record(schema, depth)
        measured = (schema["size"] if kind == "fixed" else 1, 1)
        self.measures[schema["name"]] = measured
        return measured

    def _measure_named(self, name: str) -> tuple[int, int]:
        if name in _PRIMITIVES:
            return (0 if name == "null" else 1), 1
        if name in self.open_names:
            path = " → ".join([*self.open_names[self.open_names.index(name) :], name])
            raise SchemaRefused(f"the schema is recursive ({path}); recursive data is not accepted")
        return self.measures[name]

    def _check_items(self, kind: str, items: AvroJson, depth: int) -> None:
        width, _ = self.measure(items, depth + 1)
        if width <= 0:
            raise SchemaRefused(
                f"an {kind} of items that take no bytes lets a short message fill the memory; "
                "items must take one byte at least"
                if kind == "array"
                else "a map of values that take no bytes is not accepted; "
                "values must take one byte at least"
            )

    def _measure_record(self, schema: dict[str, Any], depth: int) -> tuple[int, int]:
        name = schema["name"]
        self.open_names.append(name)
        measured = [self.measure(field["type"], depth + 1) for field in schema["fields"]]
        self.open_names.pop()
        width = sum(width for width, _ in measured)
        fields = 1 + sum(fields for _, fields in measured)
        # Records inside records multiply: 30 levels of two fields each would be 2^30 reads.
        if fields > # Avro's JSON as fastavro takes it.
AvroJson: TypeAlias = "str | list[Any] | dict[str, Any]"

MAX_FIELDS:
            raise SchemaRefused(f"one record has more than {MAX_FIELDS} fields, all levels counted")
        self.measures[name] = (width, fields)
        return width, fields


def check_is_safe(schema: dict[str, Any]) -> None:
    """Refuse a schema under which a few bytes could exhaust the reader.

    Args:
        schema: a record schema in canonical form, parsed from its JSON.

    Raises:
        SchemaRefused: it is recursive, too deep or too wide, or an array or map holds items that
            take no bytes.
    """
    _Survey().measure(schema)
