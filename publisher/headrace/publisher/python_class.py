"""Looks a Python model over before it is published, without running it.

Finds a `model.py` that does not compile or has no class `Model` to make and ask. What only running
it can tell is left to the nodes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from headrace.publisher.errors import InvalidModel
from headrace.schemas.records import DEFAULT_SIGNATURE

FILE: Final = "model.py"
CLASS: Final = "Model"
_METHOD: Final = "predict"


def signatures(folder: Path) -> tuple[str, ...]:
    """Return the names of the signatures of the class in a folder: it has one.

    Raises:
        InvalidModel: it cannot be served; the message names the file and what to do.
    """
    file = folder / FILE
    if not file.is_file():
        raise InvalidModel(f"{folder} is not a Python model: it has no {FILE}")
    try:
        module = ast.parse(file.read_bytes(), FILE)
    except (SyntaxError, ValueError) as error:
        line = f" line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise InvalidModel(f"{file}{line} is not Python: {error}") from error
    classes = [each for each in ast.walk(module) if isinstance(each, ast.ClassDef)]
    defined = [each for each in classes if each.name == CLASS]
    if not defined and CLASS not in set(_bound(module)):
        raise InvalidModel(
            f"{file} has no class {CLASS}: a node makes one of it and calls its {_METHOD}"
        )
    for each in defined:
        # What a class inherits or binds in another way is not looked for.
        if not each.bases and not each.decorator_list and _METHOD not in _names(each):
            raise InvalidModel(f"{file}: the class {CLASS} has no method {_METHOD}(self, inputs)")
    return (DEFAULT_SIGNATURE,)


def _names(definition: ast.ClassDef) -> set[str]:
    """Return the names of methods, and whatever else the body of a class binds."""
    nodes = list(ast.walk(definition))
    methods = {each.name for each in nodes if isinstance(each, ast.FunctionDef)}
    return methods | {each.id for each in nodes if isinstance(each, ast.Name)}


def _bound(module: ast.Module) -> Iterator[str]:
    """Yield the names that a module binds by import or assignment."""
    for each in ast.walk(module):
        if isinstance(each, ast.alias):
            yield each.asname or each.name
        elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            yield each.id
