"""Tolerances as a command line gives them: `OUTPUT=ABSOLUTE[,RELATIVE]`, or for all outputs."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from headrace.schemas.records import Tolerance


def parse_tolerances(texts: Iterable[str], option: str = "--tolerance") -> dict[str, Tolerance]:
    """Return tolerances by output; the empty name is for those that have none of their own.

    Raises:
        typer.BadParameter: one is written otherwise, or an output has two.
    """
    found: dict[str, Tolerance] = {}
    for text in texts:
        output, _, numbers = text.rpartition("=")
        if output in found:
            raise typer.BadParameter(f"{text!r} is the second one of its kind", param_hint=option)
        try:
            absolute, *rest = [float(number) for number in numbers.split(",")]
            (relative,) = rest or [0.0]
        except ValueError:
            raise typer.BadParameter(
                f"{text!r} is not OUTPUT=ABSOLUTE[,RELATIVE] or ABSOLUTE[,RELATIVE]",
                param_hint=option,
            ) from None
        found[output] = Tolerance(absolute=absolute, relative=relative)
    return found
