"""Renders `docs/performance.md`: the template's words around tables made of the result files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks import promises, results, tables
from benchmarks.experiments import tables as experiment_tables
from benchmarks.kafka import tables as kafka_tables
from benchmarks.measurement import BenchmarkError, Json
from benchmarks.rpc import tables as rpc_tables

_TEMPLATE: Final = Path(__file__).with_name("report_template.md")
_DOCUMENT: Final = Path(__file__).parents[1] / "docs" / "performance.md"
_MARK: Final = re.compile(r"\{\{(\w+)(?:\.(\w+))?\}\}")
PARTS: Final = {
    **tables.PARTS,
    **rpc_tables.PARTS,
    **kafka_tables.PARTS,
    **experiment_tables.PARTS,
}
"""What renders each mark of the template but the promises and the `when`s."""
_MISSING: Final = "*Not measured yet.*"


def write(folder: Path) -> Path:
    """Write the report of a folder's results and return its file.

    The results of the repository make `docs/performance.md`; others get a page beside them.

    Raises:
        BenchmarkError: the repository's results hold a quick run.
    """
    found = results.read(folder)
    document = _DOCUMENT
    if folder.resolve() != results.FOLDER:
        document = folder / "performance.md"
    elif quick := [name for name, outcome in found.items() if outcome["is_quick"]]:
        raise BenchmarkError(f"{', '.join(quick)}: a quick run is no result to publish")
    document.write_text(render(_TEMPLATE.read_text("utf-8"), found), "utf-8")
    return document


def render(template: str, found: Mapping[str, Json]) -> str:
    """Fill a template's marks, `{{benchmark.part}}` or `{{promises}}`, from results.

    Raises:
        BenchmarkError: a mark names no part that there is.
    """

    def fill(mark: re.Match[str]) -> str:
        benchmark, part = str(mark[1]), str(mark[2] or "")
        if (benchmark, part) == ("promises", ""):
            return promises.render(found)
        render_part = PARTS.get((benchmark, part))
        if part != "when" and render_part is None:
            raise BenchmarkError(f"the report's template names {mark[0]}, which nothing renders")
        if benchmark not in found:
            return _MISSING
        outcome = found[benchmark]
        return tables.when(outcome) if render_part is None else render_part(outcome)

    return _MARK.sub(fill, template)
