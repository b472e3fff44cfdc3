"""Which writer schemas can be read without letting a few bytes exhaust the reader.

fastavro follows a schema blindly: 8 KB under a recursive schema overflow the C stack and end the
process, and 5 bytes under `array<null>` build a list of 50 million items (both seen with 1.13.1).
So such schemas are refused when they are registered, before any bytes are read with them.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

from headrace.schemas.errors import SchemaRefused

# Avro's JSON as fastavro takes it.
AvroJson: TypeAlias = "str | list[Any] | dict[str, Any]"

MAX_FIELDS: Final = 10_000
MAX_DEPTH: Final = 64

_PRIMITIVES: Final = frozenset(
    {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}
)


class _Measure(NamedTuple):
    """The fewest bytes of one value of a type, and how many fields it has on all levels."""

    width: int
    fields: int


class _Survey:
    """One walk over a schema in canonical form, where a type is defined before it is named.

    **Concurrency:** used by one call.
    """

    def __init__(self) -> None:
        self._open: list[str] = []  # the records around the current spot, outermost first
        self._named: dict[str, _Measure] = {}

    def measure(self, schema: AvroJson, depth: int = 0) -> _Measure:
        """Return the measure of a type; SchemaRefused when it is not safe."""
        if depth > MAX_DEPTH:
            raise SchemaRefused(f"types nest deeper than {MAX_DEPTH}")
        if isinstance(schema, str):
            return self._measure_name(schema)
        if isinstance(schema, list):
            branches = [self.measure(branch, depth + 1) for branch in schema]
            # The number of the branch takes a byte, whatever follows.
            return _Measure(1, max((branch.fields for branch in branches), default=1))
        match schema["type"]:
            case "array":
                return self._measure_items("an array", schema["items"], depth)
            case "map":
                return self._measure_items("a map", schema["values"], depth)
            case "record":
                return self._measure_record(schema, depth)
            case kind:
                measured = _Measure(schema["size"] if kind == "fixed" else 1, 1)
                self._named[schema["name"]] = measured
                return measured

    def _measure_name(self, name: str) -> _Measure:
        if name in _PRIMITIVES:
            return _Measure(0 if name == "null" else 1, 1)
        if name in self._open:
            path = " → ".join([*self._open[self._open.index(name) :], name])
            raise SchemaRefused(f"the schema is recursive ({path}); recursive data is not accepted")
        return self._named[name]

    def _measure_items(self, kind: str, items: AvroJson, depth: int) -> _Measure:
        if self.measure(items, depth + 1).width < 1:
            raise SchemaRefused(
                f"{kind} of items that take no bytes lets a short message fill the memory; "
                "items must take one byte at least"
            )
        return _Measure(1, 1)

    def _measure_record(self, schema: dict[str, Any], depth: int) -> _Measure:
        self._open.append(schema["name"])
        measured = [self.measure(field["type"], depth + 1) for field in schema["fields"]]
        self._open.pop()
        whole = _Measure(
            sum(field.width for field in measured), 1 + sum(field.fields for field in measured)
        )
        # Records in records multiply: 30 levels of two fields each would be 2^30 reads of nothing.
        if whole.fields > MAX_FIELDS:
            raise SchemaRefused(f"one record has more than {MAX_FIELDS} fields on all levels")
        self._named[schema["name"]] = whole
        return whole


def check_is_safe(schema: dict[str, Any]) -> None:
    """Refuse a schema under which a few bytes could exhaust the reader.

    Args:
        schema: a record schema in canonical form, parsed from its JSON.

    Raises:
        SchemaRefused: it is recursive, too deep or too wide, or an array or map holds items that
            take no bytes.
    """
    _Survey().measure(schema)
