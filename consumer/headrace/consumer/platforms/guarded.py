"""Other people's code behind the contract of a platform: whatever it does, it costs one answer.

Exceptions become errors with their text, and their traceback goes to the log; inputs and outputs
are held against the signature.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from headrace.consumer.core.calls import Calls
from headrace.consumer.core.codes import Code
from headrace.consumer.platforms.platform import LoadOptions, Model, Platform, PlatformError
from headrace.consumer.platforms.signature import Array, Signature, TensorSpec

_MAX_MESSAGE: Final = 1000
_SECONDS_BETWEEN_TRACEBACKS: Final = 1.0


class GuardedModel(Model):
    """A model whose code is not ours.

    **Concurrency:** one caller at a time.

    Raises:
        ValueError: the signatures have a dtype that no request could carry.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self.signatures = model.signatures
        self._signature_def = model.signature_def
        self._next_traceback = 0.0

    @property
    def signature_def(self) -> bytes:
        """What the model says of itself; see `platform.Model`."""
        return self._signature_def

    def run(
        self,
        signature: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_seconds: float | None,
    ) -> dict[str, Array]:
        """Run one signature; see `platform.Model.run`."""
        declared = self.signatures[signature]
        _check_inputs(declared, inputs)
        try:
            given = self._model.run(signature, inputs, outputs, timeout_seconds)
            return {alias: _output(declared.outputs[alias], given) for alias in outputs}
        except PlatformError:
            raise
        except (Exception, SystemExit) as error:  # door: the model's failure is an answer
            self._tell(error)
            raise PlatformError(Code.INTERNAL, words_of(error)) from error

    def recorded_calls(self) -> Iterator[Calls | None]:
        """Yield what came with the model; see `platform.Model.recorded_calls`."""
        return self._model.recorded_calls()

    def _tell(self, error: BaseException) -> None:
        """Log where it was raised, and not a thousand times a second."""
        now = time.monotonic()
        if now >= self._next_traceback:
            self._next_traceback = now + _SECONDS_BETWEEN_TRACEBACKS
            _print(error)


class GuardedPlatform(Platform):
    """A platform whose code, or whose models' code, is not ours.

    **Concurrency:** one caller at a time.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def preload(self) -> None:
        """Import what the platform needs; see `platform.Platform`."""
        self._platform.preload()

    def load(self, path: str, options: LoadOptions) -> GuardedModel:
        """Load a model; see `platform.Platform.load`."""
        try:
            return GuardedModel(self._platform.load(path, options))
        except PlatformError:
            raise
        except (Exception, SystemExit) as error:  # door: the failure is this version's alone
            _print(error)
            raise PlatformError(Code.FAILED_PRECONDITION, words_of(error)) from error


def words_of(error: BaseException) -> str:
    """Return an exception as a caller is told of it: its class and its text, in one line."""
    return ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split()))))[
        :_MAX_MESSAGE
    ]


def _print(error: BaseException) -> None:
    traceback.print_exception(error)
    sys.stderr.flush()


def _check_inputs(signature: Signature, inputs: Mapping[str, Array]) -> None:
    for alias, spec in signature.inputs.items():
        if not spec.fits(inputs[alias].shape):
            raise PlatformError(
                Code.INVALID_ARGUMENT,
                f"input {alias!r} has shape {_shown(inputs[alias].shape)}; the signature wants "
                f"{_shown(spec.shape)}",
            )


def _output(spec: TensorSpec, given: Mapping[str, object]) -> Array:
    """Return what the model gave for an output, as the signature declares it."""
    if spec.alias not in given:
        raise ValueError(f"the model gave no output {spec.alias!r}; it gave {sorted(given)}")
    array = np.asarray(given[spec.alias])
    if spec.dtype.kind == "O":
        array = _strings(spec, array)
    elif array.dtype != spec.dtype:
        array = _cast(spec, array)
    if not spec.fits(array.shape):
        raise ValueError(
            f"the model gave output {spec.alias!r} of shape {_shown(array.shape)}; its signature "
            f"says {_shown(spec.shape)}"
        )
    return array


def _cast(spec: TensorSpec, array: Array) -> Array:
    """Return the array in the declared dtype, where no more than precision is lost."""
    if not np.can_cast(array.dtype, spec.dtype, "same_kind"):
        raise _mistyped(spec, array.dtype.name)
    return array.astype(spec.dtype)


def _strings(spec: TensorSpec, array: Array) -> Array:
    """Return text and bytes as the bytes that answers carry."""
    strings = np.empty(array.shape, object)
    for index, each in np.ndenumerate(array):
        if not isinstance(each, str | bytes):
            raise _mistyped(spec, type(each).__name__)
        strings[index] = each if isinstance(each, bytes) else each.encode()
    return strings


def _mistyped(spec: TensorSpec, given: str) -> ValueError:
    wanted = "strings" if spec.dtype.kind == "O" else spec.dtype.name
    return ValueError(
        f"the model gave output {spec.alias!r} of dtype {given}; its signature says {wanted}"
    )


def _shown(shape: Sequence[int | None] | None) -> str:
    if shape is None:
        return "any"
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"
