"""docs/compatibility.md names every test that shows a difference, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs/compatibility.md").read_text()


def differing() -> set[str]:
    """Return the tests of this suite whose docstrings say that they show a difference."""
    return {
        each.name
        for path in Path(__file__).parent.glob("test_*.py")
        for each in ast.parse(path.read_text()).body
        if isinstance(each, ast.FunctionDef)
        and "Differs from TensorFlow Serving" in (ast.get_docstring(each) or "")
    }


def test_page_names_the_tests_that_show_a_difference() -> None:
    """A difference that is not on the page is a surprise, a row without a test a claim."""
    assert set(re.findall(r"`(test_\w+)`", PAGE)) == differing()
    assert len(differing()) >= 20
