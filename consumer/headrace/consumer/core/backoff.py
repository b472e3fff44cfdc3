"""How long to wait before the next attempt."""

from __future__ import annotations

import random
from collections.abc import Iterator


def backoff(first_seconds: float, cap_seconds: float) -> Iterator[float]:
    """Yield delays without end: doubling, capped, each with jitter.

    Units: seconds. Every delay lies between half of the nominal one and the nominal one, so that
    many nodes do not come back at once.
    """
    nominal = first_seconds
    while True:
        yield random.uniform(nominal / 2, nominal)
        nominal = min(nominal * 2, cap_seconds)
