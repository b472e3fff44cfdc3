"""The result files: one JSON file per benchmark, written whole and read back for the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from benchmarks.measurement import BenchmarkError, Json, Measured

FOLDER: Final = Path(__file__).with_name("results")


def result(name: str, machine: Json, measured: Measured, *, is_quick: bool) -> Json:
    """Return one benchmark's result as it is written."""
    return {
        "benchmark": name,
        "is_quick": is_quick,
        "machine": machine,
        "parameters": measured.parameters,
        "medians": measured.medians,
        "runs": list(measured.runs),
    }


def write(folder: Path, outcome: Json) -> Path:
    """Write one result into the folder and return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{outcome['benchmark']}.json"
    path.write_text(to_json(outcome), "utf-8")
    return path


def to_json(outcome: Json) -> str:
    """Return a result as text, with one line for each raw run."""
    runs = ",\n    ".join(json.dumps(run, ensure_ascii=False) for run in outcome["runs"])
    head = json.dumps({k: v for k, v in outcome.items() if k != "runs"}, indent=2)
    return f'{head[:-2]},\n  "runs": [\n    {runs}\n  ]\n}}\n'


def read(folder: Path) -> dict[str, Json]:
    """Return all results of a folder by benchmark.

    Raises:
        BenchmarkError: a file is no result.
    """
    found: dict[str, Json] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            outcome: Json = json.loads(path.read_text("utf-8"))
            found[outcome["benchmark"]] = outcome
        except (ValueError, KeyError, TypeError) as error:
            raise BenchmarkError(
                f"{path} is no result of a benchmark ({error!r}): remove it or measure anew"
            ) from error
    return found
