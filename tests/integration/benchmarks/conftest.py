"""Makes `benchmarks` importable: it lies in the repository's root and is no part of the package."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3]))
