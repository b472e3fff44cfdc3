"""A shadow as one writes it on the command line, and as it is shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import typer

from headrace.cli import tolerances
from headrace.schemas.records import Shadow, Tolerance

NONE: Final = "none"
_SHADOW: Final = re.compile(r"([^=\s]+)(?:=(\d{1,3}(?:\.\d{1,6})?)%?)?")


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
    given = [text for text in texts if text != NONE]
    return tolerances.parse_tolerances(given, "--shadow-tolerance")


def shadow_words(shadow: Shadow | None) -> str:
    """Return a shadow as one writes it on the command line."""
    if shadow is None:
        return NONE
    words = f"{shadow.target}={shadow.fraction * 100:g}"
    allowed = [
        f"{f'{output}=' if output else ''}{each.absolute:g},{each.relative:g}"
        for output, each in sorted(shadow.tolerances.items())
    ]
    return f"{words} (tolerance {' '.join(allowed)})" if allowed else words


def shadow_object(shadow: Shadow | None) -> dict[str, object] | None:
    """Return a shadow as JSON shows it."""
    return None if shadow is None else asdict(shadow)
