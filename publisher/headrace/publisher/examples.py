"""Golden requests from a file: one JSON object a line, each with inputs and expected outputs.

Checks what can be told without the model; what its signatures say is checked where it runs.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

from headrace.publisher.errors import InvalidArgument
from headrace.schemas.records import DEFAULT_SIGNATURE, Tolerance
from headrace.schemas.trial import Example, Json

MAX_FILE_BYTES: Final = 64 * 2**20
_KEYS: Final = {"inputs", "outputs", "signature"}
_Fields: TypeAlias = dict[str, Json]


def read_examples(path: str | os.PathLike[str]) -> tuple[Example, ...]:
    """Return the examples of a file; blocking.

    Raises:
        InvalidArgument: it cannot be read, has none, or a line is none; the text names the line.
    """
    file = Path(path).expanduser()
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidArgument(
            f"cannot read the examples in {file}: {error.strerror or error}: check the path"
        ) from error
    if len(content) > MAX_FILE_BYTES:
        raise InvalidArgument(
            f"{file} has more than {MAX_FILE_BYTES} bytes: choose fewer or smaller examples"
        )
    lines = enumerate(content.splitlines(), 1)
    examples = tuple(_example(file, number, line) for number, line in lines if line.strip())
    if not examples:
        raise InvalidArgument(
            f"{file} has no examples: write one JSON object a line, such as "
            '{"inputs": {"x": [[1.0]]}, "outputs": {"y": [[2.5]]}}'
        )
    return examples


def check_tolerances(tolerances: Mapping[str, Tolerance]) -> None:
    """Raise InvalidArgument unless every tolerance is a distance that numbers can have."""
    for output, tolerance in tolerances.items():
        for value in (tolerance.absolute, tolerance.relative):
            if not (math.isfinite(value) and value >= 0):
                meant = f"output {output!r}" if output else "all outputs"
                raise InvalidArgument(
                    f"the tolerance of {meant} is {value}: use a finite number that is not negative"
                )


def _example(file: Path, number: int, line: bytes) -> Example:
    try:
        fields: Json = json.loads(line.decode())
    except RecursionError:
        raise _bad(file, number, "is nested too deeply") from None
    except ValueError as error:
        raise _bad(file, number, f"is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise _bad(file, number, "is no JSON object")
    unknown = fields.keys() - _KEYS
    if unknown:
        names = ", ".join(repr(name) for name in sorted(unknown))
        raise _bad(file, number, f"has {names}; it may have inputs, outputs and signature")
    inputs = _tensors(file, number, fields, "inputs")
    if inputs is None:
        raise _bad(file, number, "has no inputs")
    signature = fields.get("signature", DEFAULT_SIGNATURE)
    if not isinstance(signature, str) or not signature:
        raise _bad(file, number, "has a signature that is no name")
    outputs = _tensors(file, number, fields, "outputs")
    if outputs is not None and not outputs:
        words = "expects no outputs: name some, or leave 'outputs' out to expect finite numbers"
        raise _bad(file, number, words)
    return Example(line=number, inputs=inputs, outputs=outputs, signature=signature)


def _tensors(file: Path, number: int, fields: _Fields, which: str) -> _Fields | None:
    if which not in fields:
        return None
    found = fields[which]
    if not isinstance(found, dict):
        raise _bad(file, number, f"has {which} that are no object of names and values")
    return found


def _bad(file: Path, number: int, fault: str) -> InvalidArgument:
    return InvalidArgument(f"line {number} of {file} {fault}")
