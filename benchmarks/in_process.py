"""The known way to unload: drop every reference in the one process, and collect.

`python -m benchmarks.in_process FOLDER CYCLES CALLS` prints its memory before, and after each cycle
of load, calls and unload, as JSON lines.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
from typing import Any

from benchmarks import proc


def main(folder: str, cycles: int, calls: int) -> None:
    """Load and unload."""
    tf: Any = importlib.import_module("tensorflow")
    # The first op makes TensorFlow's pools, which are not the model's.
    x = tf.constant([1.0]) + 0.0
    _tell(0, None)
    for cycle in range(1, cycles + 1):
        model = tf.saved_model.load(folder)
        serve = model.signatures["serving_default"]
        for _ in range(calls):
            serve(x=x)
        loaded = proc.memory([os.getpid()])
        del model, serve
        gc.collect()
        _tell(cycle, loaded)


def _tell(cycle: int, loaded: proc.Memory | None) -> None:
    after = proc.memory([os.getpid()])
    figures = {
        "kind": "one process, del and gc.collect",
        "cycle": cycle,
        "processes": 1,
        "loaded_pss_mb": None if loaded is None else round(loaded.pss_bytes / 1e6, 1),
        "loaded_anonymous_mb": None if loaded is None else round(loaded.anonymous_bytes / 1e6, 1),
        "pss_mb": round(after.pss_bytes / 1e6, 1),
        "anonymous_mb": round(after.anonymous_bytes / 1e6, 1),
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
