"""The contract of a platform: what loads a model and what a loaded model can do.

Owns the Protocols, the description of signatures, and the table of platform names; it imports no
platform until one is named.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from headrace.consumer.core.calls import Calls
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import ModelRejected

Array: TypeAlias = npt.NDArray[Any]

_MODULES: Final = {"tensorflow": "headrace.consumer.platforms.saved_model"}


class PlatformError(Exception):
    """A model that failed to load or to run, with the platform's own code and its words."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class TensorSpec(NamedTuple):
    """What a signature declares of one tensor.

    Shapes: `shape` is None for an unknown rank; an unknown dimension is None. Strings have dtype
    object and hold bytes.
    """

    alias: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class Signature:
    """One callable entry of a model: named inputs and outputs.

    `defaults` are the arrays of inputs that a request may leave out. `is_batchable` holds when
    every input and every output declares an unknown first dimension, so that rows of several
    requests may be run as one.
    """

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    defaults: Mapping[str, Array] = field(default_factory=dict[str, Array])
    is_batchable: bool = field(init=False)

    def __post_init__(self) -> None:
        specs = [*self.inputs.values(), *self.outputs.values()]
        object.__setattr__(
            self,
            "is_batchable",
            bool(self.inputs) and all(s.shape and s.shape[0] is None for s in specs),
        )


class LoadOptions(NamedTuple):
    """How a platform may use the machine."""

    intra_op_threads: int
    inter_op_threads: int


class Model(Protocol):
    """A loaded model.

    **Concurrency:** one caller at a time.
    """

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """The signatures by name."""
        ...

    @property
    def signature_def(self) -> bytes:
        """The signatures as an encoded `tensorflow.serving.SignatureDefMap`."""
        ...

    def run(
        self,
        signature: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_seconds: float | None,
    ) -> dict[str, Array]:
        """Run one signature.

        Args:
            signature: the name of a signature of the model.
            inputs: an array for each input of the signature, of its dtype.
            outputs: the aliases to compute.
            timeout_seconds: ends the run where the platform can; None for no bound.

        Raises:
            PlatformError: the model failed, or cannot take arrays of these shapes
                (INVALID_ARGUMENT), or ran out of time (DEADLINE_EXCEEDED).
        """
        ...

    def recorded_calls(self) -> Iterator[Calls | None]:
        """Yield the calls that came with the model to warm it up; None is one of another kind.

        Raises:
            PlatformError: the recording cannot be read (DATA_LOSS).
        """
        ...


class Platform(Protocol):
    """What can load models of one kind."""

    def preload(self) -> None:
        """Import what a first load would import; start no thread and run nothing."""
        ...

    def load(self, path: str, options: LoadOptions) -> Model:
        """Load the model in a folder.

        Raises:
            PlatformError: the platform refused it.
        """
        ...


def platform_named(name: str) -> Platform:
    """Import and return a platform.

    Raises:
        ModelRejected: there is none of that name, or it cannot be imported here.
    """
    module_name = _MODULES.get(name)
    if module_name is None:
        known = ", ".join(sorted(_MODULES))
        raise ModelRejected(f"platform {name!r} is not known here; known platforms are: {known}")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ModelRejected(
            f"platform {name} cannot be imported: {error}; install headrace[serving]"
        ) from error
    return cast("Platform", module.PLATFORM)


def known_platforms() -> frozenset[str]:
    """Return the names that `platform_named` knows."""
    return frozenset(_MODULES)
