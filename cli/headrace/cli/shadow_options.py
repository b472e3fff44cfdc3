"""A shadow as one writes it on the command line, and as it is shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import typer

from headrace.schemas.records import Shadow, Tolerance

NONE: Final = "none"
_SHADOW: Final = re.compile(r"([^=\s]+)(?:=(\d{1,3}(?:\.\d{1,6})?)%?)?")
_NUMBER: Final = r"\d{1,30}(?:\.\d{1,30})?(?:[eE][+-]?\d{1,3})?"
_TOLERANCE: Final = re.compile(rf"(?:(.+)=)?({_NUMBER})(?:,({_NUMBER}))?")


def parse_shadow(text: str | None) -> tuple[str | None, float | None]:
    """Return target and fraction of TARGET[=PERCENT]; `none` is an empty target.

    Raises:
        typer.BadParameter: it is neither.
    """
    if text is None:
        return None, None
    if text == NONE:
        return "", None
    match = _SHADOW.fullmatch(text)
    if match is None:
        raise typer.BadParameter(
            f"{text!r} is not TARGET, TARGET=PERCENT or none", param_hint="--shadow"
        )
    return match[1], None if match[2] is None else float(match[2]) / 100


def parse_tolerances(texts: Sequence[str] | None) -> dict[str, Tolerance] | None:
    """Return tolerances by output of [OUTPUT=]ABS[,REL]; `none` is none at all.

    Raises:
        typer.BadParameter: one is not of that form, or comes twice.
    """
    if not texts:
        return None
    found: dict[str, Tolerance] = {}
    for text in texts:
        if text == NONE:
            continue
        match = _TOLERANCE.fullmatch(text)
        if match is None:
            raise typer.BadParameter(
                f"{text!r} is not ABS, ABS,REL or OUTPUT=ABS,REL", param_hint="--shadow-tolerance"
            )
        output = match[1] or ""
        if output in found:
            raise typer.BadParameter(
                f"{output or 'every output'!r} is given twice", param_hint="--shadow-tolerance"
            )
        found[output] = Tolerance(absolute=float(match[2]), relative=float(match[3] or 0))
    return found


def shadow_words(shadow: Shadow | None) -> str:
    """Return a shadow as one writes it on the command line."""
    if shadow is None:
        return NONE
    words = f"{shadow.target}={shadow.fraction * 100:g}"
    tolerances = [
        f"{f'{output}=' if output else ''}{each.absolute:g},{each.relative:g}"
        for output, each in sorted(shadow.tolerances.items())
    ]
    return f"{words} (tolerance {' '.join(tolerances)})" if tolerances else words


def shadow_object(shadow: Shadow | None) -> dict[str, object] | None:
    """Return a shadow as JSON shows it."""
    return None if shadow is None else asdict(shadow)
