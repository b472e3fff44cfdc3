"""What MLServer is told: one model, ports that are free, and what a benchmark adds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.servers import free_ports

MODEL: Final = "half_plus_two"
REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")
_RUNTIME: Final = Path(__file__).with_name("runtime.py.txt")


def write(folder: Path, added: Mapping[str, object]) -> str:
    """Write the folder that `mlserver start` reads; return where it will answer gRPC."""
    folder.mkdir()
    shutil.copy(_RUNTIME, folder / "half_plus_two.py")
    http, grpc, metrics = free_ports(3)
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": http,
        "grpc_port": grpc,
        "metrics_port": metrics,
        "metrics_dir": str(folder / "metrics"),
        "environments_dir": str(folder / "environments"),
        # In the server's own process: a pool of others makes it slower with a model this small.
        "parallel_workers": 0,
        **added,
    }
    model = {"name": MODEL, "implementation": "half_plus_two.HalfPlusTwo"}
    (folder / "settings.json").write_text(json.dumps(settings), "utf-8")
    (folder / "model-settings.json").write_text(json.dumps(model), "utf-8")
    return f"127.0.0.1:{grpc}"
