"""What workers rely on in a platform: the same of TensorFlow, of onnxruntime and of Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.contract.platform_checks import CHECKS
from tests.models import model
from tests.onnx_models import write_onnx
from tests.python_models import write_python

Report = Mapping[str, str | None]

ROOT = Path(__file__).parents[2]
# As zygotes have it.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}


@pytest.fixture(scope="module", params=["tensorflow", "onnx", "python"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """What was wrong with each platform, check by check."""
    folder = tmp_path_factory.mktemp("models")
    names = ("half_plus_two", "picky")
    folders = {
        "tensorflow": [model(name) for name in names],
        "onnx": [write_onnx(name, folder / "onnx" / name) for name in names],
        "python": [write_python(name, folder / "python" / name) for name in names],
    }[request.param]
    done = subprocess.run(
        [sys.executable, "-m", "tests.contract.platform_checks", request.param, *folders],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("checked ")]
    assert lines, done.stderr[-3000:]
    found: Report = json.loads(lines[0].removeprefix("checked "))
    return found


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_platform(report: Report, check: object) -> None:
    """Each check says in its docstring what it is for."""
    assert report[getattr(check, "__name__", "")] is None, report
