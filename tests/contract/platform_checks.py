"""What every platform keeps of the contract, checked in a process of its own.

`python -m tests.contract.platform_checks PLATFORM HALF_PLUS_TWO PICKY` prints, as JSON, for each
check what was wrong, or null.
"""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from headrace.consumer.core.codes import Code
from headrace.consumer.platforms import LoadOptions, Model, Platform, PlatformError
from headrace.consumer.platforms.installed import platform_named
from headrace.consumer.workers.kernel import thread_count
from headrace.protos.tensorflow_pb2 import DataType
from headrace.protos.tensorflow_serving_pb2 import SignatureDefMap

ONE_ROW = {"x": np.ones((1, 1), np.float32)}
OPTIONS = LoadOptions(1, 1)


@dataclass
class Subject:
    """A platform and two of its models; `refused` is an x that makes picky fail."""

    platform: Platform
    threads: int
    half: Model
    picky: Model


def failure(work: Callable[[], object]) -> PlatformError:
    """Return the error that work ends in."""
    try:
        work()
    except PlatformError as error:
        return error
    raise AssertionError("nothing failed")


def imports_without_threads(subject: Subject) -> None:
    """A zygote forks, which is safe with one thread only."""
    assert subject.threads == 1, subject.threads


def describes_its_signature(subject: Subject) -> None:
    """Aliases, dtypes and unknown dimensions."""
    signature = subject.half.signatures["serving_default"]
    assert signature.is_batchable
    for specs, alias in ((signature.inputs, "x"), (signature.outputs, "y")):
        assert list(specs) == [alias]
        assert specs[alias].dtype == np.float32
        assert specs[alias].shape == (None, 1)


def encodes_its_signature(subject: Subject) -> None:
    """What GetModelMetadata returns says the same."""
    known = SignatureDefMap.FromString(subject.half.signature_def).signature_def
    assert list(known) == ["serving_default"]
    info = known["serving_default"].inputs["x"]
    assert info.dtype == DataType.DT_FLOAT
    assert [dim.size for dim in info.tensor_shape.dim] == [-1, 1]
    assert info.name


def runs_any_number_of_rows(subject: Subject) -> None:
    """Also none, which is a number of rows, too."""
    for rows in (3, 1, 0):
        x = np.arange(rows, dtype=np.float32).reshape(rows, 1)
        given = subject.half.run("serving_default", {"x": x}, ["y"], 10.0)
        assert given["y"].dtype == np.float32
        np.testing.assert_array_equal(given["y"], x / 2 + 2)


def leaves_its_inputs_alone(subject: Subject) -> None:
    """They may be run again, with fewer of their neighbours."""
    x = np.ones((2, 1), np.float32)
    subject.half.run("serving_default", {"x": x}, ["y"], 10.0)
    np.testing.assert_array_equal(x, np.ones((2, 1)))


def runs_read_only_inputs(subject: Subject) -> None:
    """Inputs may be views of the request's bytes."""
    x = np.frombuffer(np.ones(2, np.float32).tobytes(), np.float32).reshape(2, 1)
    given = subject.half.run("serving_default", {"x": x}, ["y"], None)
    np.testing.assert_array_equal(given["y"], np.full((2, 1), 2.5))


def answers_or_refuses_other_shapes(subject: Subject) -> None:
    """What the model can take is answered; the rest is the caller's fault; the model goes on."""
    for shape in ((2,), (2, 2), ()):
        inputs = {"x": np.ones(shape, np.float32)}
        try:
            y = subject.half.run("serving_default", inputs, ["y"], 1.0)["y"]
        except PlatformError as error:
            is_callers = error.code is Code.INVALID_ARGUMENT and "x" in error.message
            if not is_callers:
                raise
        else:
            np.testing.assert_array_equal(y, np.full(shape, 2.5))
    subject.half.run("serving_default", ONE_ROW, ["y"], 1.0)


def tells_a_failure_in_one_line(subject: Subject) -> None:
    """The text of the model, without a traceback."""
    signature = subject.picky.signatures["serving_default"]
    inputs = {"x": np.full(1, 150, signature.inputs["x"].dtype)}
    error = failure(lambda: subject.picky.run("serving_default", inputs, ["y"], 5.0))
    assert error.message, error
    assert "\n" not in error.message, error.message
    assert "Traceback" not in error.message, error.message


def goes_on_after_a_failure(subject: Subject) -> None:
    """One request fails; the next one does not."""
    tells_a_failure_in_one_line(subject)
    signature = subject.picky.signatures["serving_default"]
    inputs = {"x": np.full(1, 5, signature.inputs["x"].dtype)}
    assert subject.picky.run("serving_default", inputs, ["y"], 5.0)["y"] == [5]


def refuses_a_folder_without_a_model(subject: Subject) -> None:
    """In words."""
    with tempfile.TemporaryDirectory() as folder:
        error = failure(lambda: subject.platform.load(folder, OPTIONS))
    assert error.message


def has_no_recorded_calls(subject: Subject) -> None:
    """These models bring none."""
    assert list(subject.half.recorded_calls()) == []


CHECKS = (
    imports_without_threads,
    describes_its_signature,
    encodes_its_signature,
    runs_any_number_of_rows,
    leaves_its_inputs_alone,
    runs_read_only_inputs,
    answers_or_refuses_other_shapes,
    tells_a_failure_in_one_line,
    goes_on_after_a_failure,
    refuses_a_folder_without_a_model,
    has_no_recorded_calls,
)


def main(name: str, half: str, picky: str) -> None:
    """Run all checks and print what was wrong."""
    platform = platform_named(name)
    threads = thread_count()
    first = platform.load(half, OPTIONS)
    # A worker has one model; two Python models in one process need two modules of one name.
    sys.modules.pop("model", None)
    if name == "python":
        sys.path.remove(half)
    subject = Subject(platform, threads, first, platform.load(picky, OPTIONS))
    found: dict[str, str | None] = {}
    for check in CHECKS:
        try:
            check(subject)
        except Exception:
            found[check.__name__] = traceback.format_exc()
        else:
            found[check.__name__] = None
    sys.stdout.write(f"checked {json.dumps(found)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
