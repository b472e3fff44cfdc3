"""The known way to bring a new version: a Python that starts, imports TensorFlow and loads it.

`python -m benchmarks.fresh_load FOLDER` says when it was where, in epoch seconds, as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any


def main(folder: str) -> None:
    """Load once."""
    tf: Any = importlib.import_module("tensorflow")
    imported_at = time.time()
    loaded = tf.saved_model.load(folder)
    loaded_at = time.time()
    assert loaded.signatures["serving_default"] is not None
    print(json.dumps({"imported_at": imported_at, "loaded_at": loaded_at}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
