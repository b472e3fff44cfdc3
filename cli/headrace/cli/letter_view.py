"""Dead letters as an operator reads them: a table, lines of JSON, or one letter in full.

Pure: takes letters and returns text.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from rich.table import Table
from rich.text import Text

from headrace.cli.moments import iso
from headrace.cli.predict.json_tensors import Json, to_json
from headrace.publisher.letters import DeadLetter, LetterEntry
from headrace.schemas import codec
from headrace.schemas.claims import CLAIM_CONTENT_TYPE, Claim
from headrace.schemas.errors import WireError
from headrace.schemas.records import InferenceRequest
from headrace.schemas.tensors import from_tensor
from headrace.schemas.topics import RequestHeader

_SHOWN_VALUES: Final = 8
_SHOWN_BYTES: Final = 256
_HEX_ROW: Final = 16


def text_or_b64(data: bytes | None) -> Json:
    """Return bytes as text where they are printable text, else as `{"b64": …}`."""
    if data is None:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\x00"
    return text if text.isprintable() else {"b64": base64.b64encode(data).decode()}


def entry_json(entry: LetterEntry) -> dict[str, Json]:
    """Return a letter as `headrace dead-letters list --json` prints it."""
    origin = entry.origin
    return {
        "partition": entry.id.partition,
        "offset": entry.id.offset,
        "time": iso(entry.timestamp_ms),
        "origin": None if origin is None else dict(zip(origin._fields, origin, strict=True)),
        "key": text_or_b64(entry.key),
        "reason": entry.reason,
        "model": entry.model,
        "size_bytes": entry.size_bytes,
        "truncated_bytes": entry.truncated_bytes,
        "replayed": None if entry.replayed_at_ms is None else iso(entry.replayed_at_ms),
    }


def table(entries: Sequence[LetterEntry]) -> Table:
    """Return letters as a table; those that were replayed are dim."""
    shown = Table("letter", "time", "origin", "key", "model", "size", "replayed", "reason")
    shown.box, shown.pad_edge = None, False
    for entry in entries:
        size = f"{entry.size_bytes}" + (f" -{entry.truncated_bytes}" * bool(entry.truncated_bytes))
        shown.add_row(
            str(entry.id),
            iso(entry.timestamp_ms),
            Text(str(entry.origin or "unknown")),
            Text(_words(entry.key)),
            Text(entry.model or ""),
            size,
            "" if entry.replayed_at_ms is None else iso(entry.replayed_at_ms),
            Text(_one_line(entry.reason)),
            style="dim" if entry.replayed_at_ms is not None else "",
        )
    return shown


def letter_json(letter: DeadLetter) -> dict[str, Json]:
    """Return a letter as `headrace dead-letters show --json` prints it."""
    headers: list[Json] = [[name, text_or_b64(value)] for name, value in letter.headers]
    return {**entry_json(letter.entry), "headers": headers, "value": _value_json(letter)}


def letter_lines(letter: DeadLetter) -> list[str]:
    """Return a letter in full, one fact a line."""
    entry = letter.entry
    facts = {
        "letter": str(entry.id),
        "time": iso(entry.timestamp_ms),
        "origin": str(entry.origin or "unknown: no node wrote this record"),
        "reason": _one_line(entry.reason),
        "replayed": "" if entry.replayed_at_ms is None else iso(entry.replayed_at_ms),
        "key": _words(entry.key) if entry.key is not None else "none",
        "model": entry.model or "not readable",
        "missing": f"{entry.truncated_bytes} bytes" * bool(entry.truncated_bytes),
    }
    lines = [f"{name:9}{fact}" for name, fact in facts.items() if fact]
    lines += [f"header   {_one_line(name)}: {_words(value)}" for name, value in letter.headers]
    return [*lines, *_value_lines(letter)]


def _value_lines(letter: DeadLetter) -> list[str]:
    value = letter.value
    if value is None:
        return ["value    none"]
    decoded = _value_json(letter)
    if isinstance(decoded, dict) and "b64" not in decoded:
        tensors = decoded.pop("inputs", None)
        lines = [f"value    {name}: {found}" for name, found in decoded.items() if found]
        if isinstance(tensors, list):
            lines += [f"input    {_tensor_line(tensor)}" for tensor in tensors]
        return lines
    rows = range(0, min(len(value), _SHOWN_BYTES), _HEX_ROW)
    lines = [f"value    {len(value)} bytes that no schema reads:"]
    lines += [f"  {at:06x}  {_hex_row(value[at : at + _HEX_ROW])}" for at in rows]
    if len(value) > _SHOWN_BYTES:
        lines.append(f"  … {len(value) - _SHOWN_BYTES} bytes more: --raw FILE writes all")
    return lines


def _tensor_line(tensor: Json) -> str:
    if not isinstance(tensor, dict):
        return str(tensor)
    shown = tensor.get("values")
    return f"{tensor['name']}: {tensor['dtype']} {tensor['shape']} {shown}"


def _value_json(letter: DeadLetter) -> Json:
    """Return the value as the request or the claim that it is, else as its first bytes."""
    value = letter.value
    if value is None:
        return None
    try:
        if dict(letter.headers).get(RequestHeader.CONTENT_TYPE) == CLAIM_CONTENT_TYPE.encode():
            claim = Claim.decode(value)
            return dict[str, Json](asdict(claim))
        request = codec.decode(value, InferenceRequest)
        return {
            "model": request.model,
            "version": request.version,
            "label": request.label,
            "signature": request.signature,
            "output_filter": list[Json](request.output_filter),
            "inputs": [_tensor_json(request, index) for index in range(len(request.inputs))],
        }
    except WireError:
        return {"b64": base64.b64encode(value[:_SHOWN_BYTES]).decode()}


def _tensor_json(request: InferenceRequest, index: int) -> Json:
    """Return a tensor with its first values; one that is broken shows why instead of them."""
    tensor = request.inputs[index]
    shown: dict[str, Json] = {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": list[Json](tensor.shape),
    }
    try:
        flat = from_tensor(tensor).reshape(-1)
    except WireError as error:
        return shown | {"values": None, "error": str(error)}
    return shown | {"values": to_json(flat[:_SHOWN_VALUES])}


def _hex_row(data: bytes) -> str:
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
    return f"{data.hex(' '):{_HEX_ROW * 3}}{text}"


def _words(data: bytes | None) -> str:
    """Return bytes on one line, with nothing in them that a terminal would obey."""
    return "" if data is None else _one_line(data[:200].decode(errors="backslashreplace"))


def _one_line(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]
