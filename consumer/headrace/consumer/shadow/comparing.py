"""Compares two answers to one request: exactly, or within the tolerance of each output.

Runs in the process that compares. The rules of the verdict:

    both are answers                AGREES or DIFFERS, by their outputs
    both are errors                 AGREES when the codes are equal, else DIFFERS
    only the primary is an error    DIFFERS
    only the shadow is an error     FAILED: there is nothing to compare with
    the shadow's error will pass    FAILED, whatever the primary is
    the shadow could not be asked   FAILED
    one answer cannot be read       FAILED
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from headrace.consumer.core.calls import Encoding
from headrace.consumer.formats.outputs import outputs
from headrace.consumer.platforms.platform import Array
from headrace.consumer.shadow.messages import PASSING, Job, Outcome, Pair
from headrace.schemas import codec
from headrace.schemas.comparison import Agreement, Answered, Difference, ShadowComparison
from headrace.schemas.records import Tolerance

_EXACTLY: Final = Tolerance()
_MAX_DIFFERENCES: Final = 100
_MAX_CHARACTERS: Final = 1000
_STRINGS: Final = "OSU"


class Verdict(NamedTuple):
    """Whether two outcomes agree, and where not."""

    agreement: Agreement
    differences: tuple[Difference, ...] = ()


def records(job: Job) -> list[bytes]:
    """Return an encoded ShadowComparison for each pair."""
    found: list[bytes] = []
    missed = job.missed
    for pair in job.pairs:
        if job.shadow.version:
            verdict = compare(job.encoding, pair, job.tolerances)
        else:
            verdict = _failed("there was no version to ask")
        record = ShadowComparison(
            model=job.model,
            node=job.node,
            at_ms=job.at_ms,
            primary=_answered(job.primary, pair.primary),
            shadow=_answered(job.shadow, pair.shadow),
            agreement=verdict.agreement,
            differences=verdict.differences[:_MAX_DIFFERENCES],
            missed=missed,
        )
        found.append(codec.encode(record))
        missed = 0
    return found


def compare(encoding: Encoding, pair: Pair, tolerances: Mapping[str, Tolerance]) -> Verdict:
    """Return how two outcomes compare.

    Args:
        encoding: how the answers are encoded.
        pair: the outcomes.
        tolerances: by output; the empty name stands for every output that has none of its own.
    """
    primary, shadow = pair.primary, pair.shadow
    if primary.error_code or shadow.error_code:
        return _compare_errors(primary.error_code, shadow.error_code)
    if primary.payload == shadow.payload:
        return Verdict(Agreement.AGREES)
    arrays: list[Mapping[str, Array]] = []
    for whose, outcome in (("primary", primary), ("shadow", shadow)):
        try:
            arrays.append(outputs(encoding, outcome.payload))
        except Exception as error:  # door: one answer that nobody foresaw must not end the rest
            return _failed(f"the {whose} answer cannot be read: {type(error).__name__}: {error}")
    return _compare_outputs(arrays[0], arrays[1], tolerances)


def _compare_errors(primary: str, shadow: str) -> Verdict:
    """Compare by the codes of errors, of which one at least is not empty."""
    if primary == shadow:
        return Verdict(Agreement.AGREES)
    if not primary or shadow in PASSING:
        return _failed(f"the shadow answers with error {shadow}")
    words = f"error {shadow}" if shadow else "an answer"
    reason = f"the primary answers with error {primary}, the shadow with {words}"
    return Verdict(Agreement.DIFFERS, (Difference(output="", reason=reason),))


def _failed(reason: str) -> Verdict:
    return Verdict(Agreement.FAILED, (Difference(output="", reason=_fit(reason)),))


def _compare_outputs(
    primary: Mapping[str, Array], shadow: Mapping[str, Array], tolerances: Mapping[str, Tolerance]
) -> Verdict:
    found = [
        Difference(output=name, elements=array.size, reason="the shadow has no such output")
        for name, array in primary.items()
        if name not in shadow
    ]
    found += [
        Difference(output=name, reason="only the shadow has such an output")
        for name in shadow.keys() - primary.keys()
    ]
    every = tolerances.get("", _EXACTLY)
    for name in primary.keys() & shadow.keys():
        difference = _difference(name, primary[name], shadow[name], tolerances.get(name, every))
        if difference is not None:
            found.append(difference)
    if not found:
        return Verdict(Agreement.AGREES)
    return Verdict(Agreement.DIFFERS, tuple(sorted(found, key=lambda each: each.output)))


def _difference(
    name: str, primary: Array, shadow: Array, tolerance: Tolerance
) -> Difference | None:
    """Return in how much an output differs beyond its tolerance; None when nowhere."""
    if primary.dtype != shadow.dtype:
        reason = f"dtype {_name(primary)}, and {_name(shadow)} of the shadow"
        return Difference(output=name, elements=primary.size, reason=reason)
    if primary.shape != shadow.shape:
        reason = f"shape {list(primary.shape)}, and {list(shadow.shape)} of the shadow"
        return Difference(output=name, elements=primary.size, reason=_fit(reason))
    if primary.dtype.kind in _STRINGS:
        count = int(np.count_nonzero(primary != shadow))
        return Difference(output=name, elements=primary.size, differing=count) if count else None
    distances, allowed = _distances(primary, shadow, tolerance)
    count = int(np.count_nonzero(~(distances <= allowed)))
    if not count:
        return None
    return Difference(
        output=name,
        elements=primary.size,
        differing=count,
        max_absolute=float(distances.max()),
    )


def _distances(primary: Array, shadow: Array, tolerance: Tolerance) -> tuple[Array, Array]:
    """Return how far the elements are apart, and how far they may be.

    NaN is at no distance from NaN, and infinitely far from anything else, which no tolerance
    allows; likewise what is infinite.

    Shapes: those of the arrays, float64.
    """
    wide = np.complex128 if primary.dtype.kind == "c" else np.float64
    left, right = primary.astype(wide), shadow.astype(wide)
    # As they came: whole numbers beyond 2**53 may differ where their floats do not.
    is_same = (primary == shadow) | (np.isnan(left) & np.isnan(right))
    with np.errstate(all="ignore"):
        distances = np.abs(left - right)
        distances = np.where(~is_same & (distances == 0), 1.0, distances)
        distances = np.where(np.isnan(distances), np.inf, distances)
        allowed = tolerance.absolute + tolerance.relative * np.abs(left)
    allowed = np.where(np.isfinite(distances) & ~np.isnan(allowed), allowed, 0.0)
    return np.where(is_same, 0.0, distances), allowed


def _answered(origin: Answered, outcome: Outcome) -> Answered:
    return replace(
        origin,
        latency_micros=outcome.latency_micros,
        error_code=outcome.error_code,
        error=_fit(outcome.error),
    )


def _name(array: Array) -> str:
    return "string" if array.dtype.kind in _STRINGS else array.dtype.name


def _fit(text: str) -> str:
    """Return text as it can travel: bounded, and without the halves of surrogate pairs."""
    fit = text.encode(errors="replace").decode()
    return fit if len(fit) <= _MAX_CHARACTERS else f"{fit[:_MAX_CHARACTERS]}…"
