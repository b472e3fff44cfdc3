"""What the structure of the source promises, beyond what the import contracts can say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PORTIONS = ("cli", "consumer", "protos", "publisher", "schemas")


def loaded_by(statement: str) -> set[str]:
    """Return the names of all modules that a fresh interpreter has after `statement`."""
    script = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    return set(run.stdout.split())


def test_the_namespace_has_no_init() -> None:
    """`headrace/__init__.py` in one source root would hide the other four."""
    found = [ROOT / portion / "headrace/__init__.py" for portion in PORTIONS]
    assert [path for path in found if path.exists()] == []


@pytest.mark.parametrize("portion", PORTIONS)
def test_every_portion_is_typed_and_importable(portion: str) -> None:
    """Each portion carries `py.typed` and lies where the rule says."""
    package = ROOT / portion / "headrace" / portion
    assert (package / "py.typed").exists()
    assert (package / "__init__.py").exists()


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import headrace.publisher", {"grpc", "tensorflow", "aiohttp", "msgspec"}),
        ("import headrace.publisher.models", {"grpc", "tensorflow"}),
        ("import headrace.consumer.node", {"tensorflow", "onnxruntime"}),
        ("import headrace.consumer.core.manager", {"aiokafka", "fastavro", "grpc", "numpy"}),
        ("import headrace.cli.main", {"aiokafka", "grpc", "tensorflow", "numpy"}),
    ],
)
def test_importing_stays_light(statement: str, absent: set[str]) -> None:
    """What a part must not load, it does not load, not even indirectly."""
    assert loaded_by(statement) & absent == set()


def test_import_contracts_hold() -> None:
    """The arrows of `.importlinter`."""
    run = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert run.returncode == 0, run.stdout
