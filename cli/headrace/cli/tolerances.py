"""Tolerances as a command line gives them: `OUTPUT=ABSOLUTE[,RELATIVE]`, or for all outputs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import typer

from headrace.schemas.records import Tolerance

_NUMBER: Final = r"\d{1,30}(?:\.\d{1,30})?(?:[eE][+-]?\d{1,3})?"
_TOLERANCE: Final = re.compile(rf"(?:(.+)=)?({_NUMBER})(?:,({_NUMBER}))?")


def parse_tolerances(texts: Iterable[str], option: str = "--tolerance") -> dict[str, Tolerance]:
    """Return tolerances by output; the empty name is for those that have none of their own.

    Raises:
        typer.BadParameter: one is written otherwise, or an output has two.
    """
    found: dict[str, Tolerance] = {}
    for text in texts:
        match = _TOLERANCE.fullmatch(text)
        if match is None:
            raise typer.BadParameter(
                f"{text!r} is not OUTPUT=ABSOLUTE[,RELATIVE] or ABSOLUTE[,RELATIVE]",
                param_hint=option,
            )
        output = match[1] or ""
        if output in found:
            raise typer.BadParameter(f"{text!r} is the second one of its kind", param_hint=option)
        found[output] = Tolerance(absolute=float(match[2]), relative=float(match[3] or 0))
    return found
