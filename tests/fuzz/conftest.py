"""How much is tried: little in the suite, more by `make fuzz`."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, settings

EXAMPLES: Final = int(os.environ.get("HEADRACE_FUZZ_EXAMPLES", "25"))

settings.register_profile(
    "fuzz",
    max_examples=EXAMPLES,
    deadline=None,
    # Hostile requests are large, and what counts allocations is slow.
    suppress_health_check=list(HealthCheck),
)
FUZZ: Final = settings.get_profile("fuzz")
