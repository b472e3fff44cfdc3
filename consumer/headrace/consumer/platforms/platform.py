"""The contract of a platform: what loads a model and what a loaded model can do.

Owns the Protocols and the error that crosses them; `installed` finds platforms by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from headrace.consumer.core.calls import Calls
from headrace.consumer.core.codes import Code
from headrace.consumer.platforms.signature import (
    Array,
    Signature,
    TensorSpec,
    encode_signatures,
)

__all__ = [
    "Array",
    "LoadOptions",
    "Model",
    "Platform",
    "PlatformError",
    "Signature",
    "TensorSpec",
]


class PlatformError(Exception):
    """A model that failed to load or to run, with the platform's own code and its words."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class LoadOptions(NamedTuple):
    """How a platform may use the machine."""

    intra_op_threads: int
    inter_op_threads: int


class Model(Protocol):
    """A loaded model. Inherit from it to give `signatures` and `run` only.

    **Concurrency:** one caller at a time.
    """

    signatures: Mapping[str, Signature]
    """The signatures by name."""

    @property
    def signature_def(self) -> bytes:
        """The signatures as an encoded `tensorflow.serving.SignatureDefMap`."""
        return encode_signatures(self.signatures)

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
            outputs: the aliases to compute, at least one.
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
        return iter(())


class Platform(Protocol):
    """What can load models of one kind."""

    def preload(self) -> None:
        """Import what a first load would import; start no thread and run nothing."""
        return

    def load(self, path: str, options: LoadOptions) -> Model:
        """Load the model in a folder.

        Raises:
            PlatformError: the platform refused it.
        """
        ...
