"""The arms of a split as people write and read them: weights or percentages, and what they mean.

Pure: text to weights, and a configuration to rows.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

import typer

from headrace.schemas.arms import route_of_arm
from headrace.schemas.cohorts import BUCKETS, table
from headrace.schemas.records import ModelConfig, Route

_OPTION: Final = "--split"
_WEIGHT: Final = re.compile(r"-?\d{1,19}")
_PERCENT: Final = re.compile(r"(\d{1,3})(?:\.(\d{1,2}))? ?%")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRow:
    """One arm of a split: its share of the keys, and what it stands for, None if for nothing."""

    arm: str
    weight: int
    share_percent: float
    route: Route | None
    leads_to: str

    def as_json(self) -> dict[str, str | int | float | None]:
        """Return the row as `--json` prints it."""
        return {
            "arm": self.arm,
            "weight": self.weight,
            "share_percent": self.share_percent,
            "model": self.route and self.route.model,
            "version": self.route and self.route.version,
            "label": self.route and self.route.label,
        }


def parse_split(text: str) -> dict[str, int]:
    """Return the weights of `ARM=WEIGHT,…`, of `ARM=PERCENT%,…`, or none of `none`.

    Raises:
        typer.BadParameter: it is none of these, an arm is given twice, or percentages do not add
            up to 100.
    """
    if text == "none":
        return {}
    written: dict[str, str] = {}
    for pair in text.split(","):
        arm, _, weight = pair.strip().partition("=")
        if not arm or not weight:
            raise typer.BadParameter(f"{pair!r} is not ARM=WEIGHT", param_hint=_OPTION)
        if arm in written:
            raise typer.BadParameter(f"{arm!r} is given twice", param_hint=_OPTION)
        written[arm] = weight.strip()
    return _percentages(written) if "%" in text else _weights(written)


def _weights(written: dict[str, str]) -> dict[str, int]:
    for arm, weight in written.items():
        if not _WEIGHT.fullmatch(weight):
            raise typer.BadParameter(
                f"{weight!r} of {arm!r} is no whole number: give weights, of which only the ratios "
                "count, or percentages (95%)",
                param_hint=_OPTION,
            )
    return {arm: int(weight) for arm, weight in written.items()}


def _percentages(written: dict[str, str]) -> dict[str, int]:
    hundredths: dict[str, int] = {}
    for arm, percent in written.items():
        match = _PERCENT.fullmatch(percent)
        if match is None:
            raise typer.BadParameter(
                f"{percent!r} of {arm!r} is no percentage such as 5% or 0.25%: give percentages "
                "to all arms or to none",
                param_hint=_OPTION,
            )
        hundredths[arm] = int(match[1]) * 100 + int((match[2] or "").ljust(2, "0"))
    total = sum(hundredths.values())
    if total != BUCKETS:
        raise typer.BadParameter(
            f"the percentages add up to {total / 100:g}%, not to 100%: change them, or give "
            "weights without %, of which only the ratios count",
            param_hint=_OPTION,
        )
    is_whole = all(share % 100 == 0 for share in hundredths.values())
    return {arm: share // 100 if is_whole else share for arm, share in hundredths.items()}


def arm_rows(config: ModelConfig) -> list[ArmRow]:
    """Return the arms of a configuration's split, the largest share first."""
    buckets = Counter(table(config.split, config.cohorts))
    rows: list[ArmRow] = []
    for arm in sorted(config.split, key=lambda arm: (-buckets[arm], arm)):
        try:
            route = route_of_arm(arm, config.model, config.labels)
        except ValueError:
            route = None
        rows.append(
            ArmRow(
                arm=arm,
                weight=config.split[arm],
                share_percent=buckets[arm] * 100 / BUCKETS,
                route=route,
                leads_to=_words(route, config),
            )
        )
    return rows


def _words(route: Route | None, config: ModelConfig) -> str:
    if route is None:
        return "nothing"
    of = "" if route.model == config.model else f" of {route.model}"
    if route.version is not None:
        return f"version {route.version}{of}"
    if route.label is not None:
        target = config.labels.get(route.label) if not of else None
        return f"label {route.label}{of}{f' (version {target})' if target else ''}"
    return f"model {route.model}" if of else f"the latest version of {config.model}"
