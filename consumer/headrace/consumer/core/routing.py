"""Traffic splits: which arm a request takes.

Sticky and the same on every node: the arm depends on the affinity bytes and the weights alone.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

_SPAN: Final = 2**64


def choose_arm(split: Mapping[str, int], affinity: bytes | None) -> str | None:
    """Return the arm for these affinity bytes; without any, an arm by chance.

    Args:
        split: arm to integer weight; only the ratios matter.
        affinity: what keeps a caller on one arm.

    Returns:
        None when no arm has a positive weight.
    """
    arms = sorted(arm for arm, weight in split.items() if weight > 0)
    total = sum(split[arm] for arm in arms)
    if not total:
        return None
    if affinity is None:
        return random.choices(arms, [split[arm] for arm in arms])[0]
    point = int.from_bytes(blake2b(affinity, digest_size=8).digest()) * total // _SPAN
    for arm in arms:
        point -= split[arm]
        if point < 0:
            return arm
    return arms[-1]
