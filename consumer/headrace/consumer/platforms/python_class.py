"""Models that are a Python class: `Model` of the file `model.py` in the artefact.

    class Model:
        inputs = {"x": ("float32", (None, 1))}
        outputs = {"y": ("float32", (None, 1))}

        def __init__(self, folder: Path) -> None: ...

        def predict(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]: ...

`is_batchable = False` keeps requests apart. What such a class does is its own affair:
`guarded` stands between it and the worker.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, cast

import numpy as np

from headrace.consumer.core.codes import Code
from headrace.consumer.platforms.platform import LoadOptions, Model, Platform, PlatformError
from headrace.consumer.platforms.signature import DTYPES, Array, Signature, TensorSpec
from headrace.schemas.records import DEFAULT_SIGNATURE

MODULE: Final = "model"
CLASS: Final = "Model"
_STRING: Final = "string"


class _Instance(Protocol):
    """What the class of an artefact has to have."""

    inputs: Mapping[str, tuple[str, Sequence[int | None] | None]]
    outputs: Mapping[str, tuple[str, Sequence[int | None] | None]]

    def predict(self, inputs: dict[str, Array]) -> object: ...


class PythonModel(Model):
    """An instance of an artefact's class.

    **Concurrency:** one caller at a time.
    """

    def __init__(self, instance: _Instance) -> None:
        self._instance = instance
        signature = Signature(
            DEFAULT_SIGNATURE,
            _specs(instance, "inputs"),
            _specs(instance, "outputs"),
            is_batchable=bool(getattr(instance, "is_batchable", True)),
        )
        self.signatures: Mapping[str, Signature] = {signature.name: signature}

    def run(
        self,
        signature: str,  # noqa: ARG002 - there is one
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_seconds: float | None,  # noqa: ARG002 - nothing ends a call safely
    ) -> dict[str, Array]:
        """Call `predict`; see `platform.Model.run`."""
        # Copies: they can be written to, and what is written reaches no other request.
        given = self._instance.predict({a: np.array(x) for a, x in inputs.items()})
        if not isinstance(given, Mapping):
            raise TypeError(f"predict returned {type(given).__name__}; expected a dict of arrays")
        by_alias = cast("Mapping[str, Array]", given)
        return {alias: by_alias[alias] for alias in outputs if alias in by_alias}


class PythonPlatform(Platform):
    """Loads classes.

    **Concurrency:** one caller at a time, and one model in a process: its modules are the
    process's own.
    """

    def load(self, path: str, options: LoadOptions) -> PythonModel:  # noqa: ARG002 - its own affair
        """Import `model.py` of a folder and make a `Model`; see `platform.Platform.load`."""
        # The artefact's folder has a digest to keep.
        sys.dont_write_bytecode = True
        sys.path.insert(0, path)
        if not Path(path, f"{MODULE}.py").is_file():
            raise PlatformError(
                Code.FAILED_PRECONDITION, f"the artefact has no {MODULE}.py with a class {CLASS}"
            )
        made = getattr(importlib.import_module(MODULE), CLASS, None)
        if not callable(made):
            raise PlatformError(Code.FAILED_PRECONDITION, f"{MODULE}.py has no class {CLASS}")
        instance = made(Path(path))
        if not callable(getattr(instance, "predict", None)):
            raise PlatformError(Code.FAILED_PRECONDITION, f"{CLASS} has no method predict")
        return PythonModel(cast("_Instance", instance))


PLATFORM: Final = PythonPlatform()


def _specs(instance: _Instance, which: str) -> dict[str, TensorSpec]:
    declared = getattr(instance, which, None)
    try:
        return {alias: _spec(alias, *each) for alias, each in dict(declared or {}).items()}
    except (TypeError, ValueError) as error:
        raise PlatformError(
            Code.FAILED_PRECONDITION,
            f'{CLASS}.{which} has to be like {{"x": ("float32", (None, 4))}}: {error}',
        ) from error


def _spec(alias: str, name: str, shape: Sequence[int | None] | None) -> TensorSpec:
    dtype: np.dtype[Any] = np.dtype(object if name in (_STRING, str, bytes) else name)
    if dtype not in DTYPES:
        raise ValueError(f"{alias!r} has dtype {name}, which no request can carry")
    return TensorSpec(alias, dtype, None if shape is None else tuple(shape))
