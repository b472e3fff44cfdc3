"""Tolerances as a command line gives them."""

from __future__ import annotations

import pytest
import typer

from headrace.cli.tolerances import parse_tolerances
from headrace.schemas.records import Tolerance


def test_one_output_or_all_others_get_a_tolerance() -> None:
    """Absolute, and relative where it is given; a name may have the sign in it."""
    assert parse_tolerances(["0.5", "y=1e-3,0.01", "a=b=0"]) == {
        "": Tolerance(absolute=0.5),
        "y": Tolerance(absolute=0.001, relative=0.01),
        "a=b": Tolerance(),
    }


@pytest.mark.parametrize("text", ["", "y", "y=", "y=x", "y=1,2,3", "1,", "y=1;2"])
def test_what_is_no_tolerance_is_wrong_usage(text: str) -> None:
    """The form that was expected is told."""
    with pytest.raises(typer.BadParameter, match=r"is not OUTPUT=ABSOLUTE\[,RELATIVE\]"):
        parse_tolerances([text])


def test_an_output_has_one_tolerance() -> None:
    """The last one of two would win in silence otherwise."""
    with pytest.raises(typer.BadParameter, match="'y=2' is the second one of its kind"):
        parse_tolerances(["y=1", "y=2"])
