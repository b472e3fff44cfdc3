"""The versions of the model that the load asks: version v answers y = 0.5 x + v.

An answer's value thus tells which version computed it, whatever its headers claim. One child
process writes all of them once, in a few seconds; they are kept between runs under a name that
changes with this file.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any, Final

COUNT: Final = 40


@functools.cache
def version_folder(version: int) -> Path:
    """Return the SavedModel of one version, written if need be."""
    if not 0 < version <= COUNT:
        raise LookupError(f"there are versions 1 to {COUNT}, not {version}: raise COUNT")
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"headrace-chaos-models-{os.getuid()}-{digest}"
    if not folder.is_dir():
        fresh = folder.with_name(f"{folder.name}-{uuid.uuid4().hex}")
        subprocess.run(
            [sys.executable, __file__, str(fresh)],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            check=True,
            capture_output=True,
            timeout=110,
        )
        try:
            fresh.rename(folder)
        except OSError:  # Another run was faster.
            shutil.rmtree(fresh)
    return folder / str(version)


def expected_value(number: int, version: int) -> float:
    """Return what a version answers; exact in float32 for numbers below some millions."""
    return 0.5 * number + version


def _write_all(root: Path) -> None:
    tf: Any = importlib.import_module("tensorflow")
    v1 = tf.compat.v1
    root.mkdir(parents=True)
    for version in range(1, COUNT + 1):
        # TensorFlow 1's builder, ten times as fast as saving a function.
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [None], name="x")
            y = x * 0.5 + float(version)
            builder = v1.saved_model.Builder(str(root / str(version)))
            signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
            builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
            builder.save()


if __name__ == "__main__":
    _write_all(Path(sys.argv[1]))
