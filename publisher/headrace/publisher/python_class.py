"""Looks a Python model over before it is published, without running it.

Finds a `model.py` that does not compile or has no class `Model` to make and ask. What only running
it can tell is left to the nodes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from headrace.publisher.errors import InvalidModel
from headrace.publisher.interface import Interface
from headrace.schemas.records import DEFAULT_SIGNATURE, SignatureSpec, TensorSpec
from headrace.schemas.tensors import STRING

FILE: Final = "model.py"
CLASS: Final = "Model"
_METHOD: Final = "predict"


def interface(folder: Path) -> Interface:
    """Return what the class in a folder can be asked: it is one signature.

    Its tensors are known when the body of the class writes `inputs` and `outputs` out in full;
    what is computed, inherited or set by a method only running it can tell.

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
    described = [_signature(each) for each in defined] if len(defined) == 1 else []
    return Interface(names=(DEFAULT_SIGNATURE,), signatures=tuple(filter(None, described)))


def _signature(definition: ast.ClassDef) -> SignatureSpec | None:
    written = {which: _written(definition, which) for which in ("inputs", "outputs")}
    try:
        inputs, outputs = (
            tuple(_tensor(alias, *each) for alias, each in dict(ast.literal_eval(value)).items())
            for value in written.values()
            if value is not None
        )
    except (TypeError, ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return SignatureSpec(name=DEFAULT_SIGNATURE, inputs=inputs, outputs=outputs)


def _written(definition: ast.ClassDef, which: str) -> ast.expr | None:
    """Return what a class body says that `which` is, None unless it says so once."""
    found: list[ast.expr] = []
    for node in definition.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name == which:
                found.append(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                found += [value] if name == which else []
            case _:
                pass
    stores = (ast.Store, ast.Del)
    others = [
        node
        for node in ast.walk(definition)
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, stores)
        if (node.id if isinstance(node, ast.Name) else node.attr) == which
    ]
    return found[0] if len(found) == len(others) == 1 else None


def _tensor(alias: object, name: object, shape: object) -> TensorSpec:
    if not isinstance(alias, str) or not isinstance(name, str):
        raise TypeError("an alias and a dtype are text")
    dtype = STRING if name == STRING else np.dtype(cast("Any", name)).name
    if shape is None:
        return TensorSpec(name=alias, dtype=dtype)
    sizes = tuple(-1 if size is None else int(size) for size in cast("tuple[Any, ...]", shape))
    return TensorSpec(name=alias, dtype=dtype, shape=sizes)


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
