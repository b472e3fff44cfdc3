"""What the node of these tests serves."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

from headrace.publisher.configuration import ConfigChange
from headrace.schemas.records import PolicyKind, VersionPolicy
from tests.conformance.open_inference.stage import Stage
from tests.models import model
from tests.onnx_models import write_onnx
from tests.python_models import write_python

HALF_PLUS_TWO = ("tf1", "tf2", "onnx", "python")
"""y = 0.5 x + 2, on every platform; SavedModels of both TensorFlows."""

PLATFORMS = {
    "tf1": "tensorflow_savedmodel",
    "tf2": "tensorflow_savedmodel",
    "onnx": "onnxruntime_onnx",
    "python": "python",
}
EVERY_KIND = ("kinds_tf1", "kinds_tf2")
"""A signature for every dtype; SavedModels of both TensorFlows."""

VERSIONS = ("half_plus_two_tf1", "half_plus_two", "half_plus_two")
"""Of the model `many`, of which 2 has the label `stable`."""


async def publish_all(stage: Stage, folder: Path) -> None:
    """Publish what no test changes."""
    folders = {
        "tf1": model("half_plus_two_tf1"),
        "tf2": model("half_plus_two"),
        "onnx": write_onnx("half_plus_two", folder / "onnx"),
        "python": write_python("half_plus_two", folder / "python"),
        "kinds_tf1": model("kinds_tf1"),
        "kinds_tf2": model("kinds"),
        "picky_tf2": model("picky"),
        "picky_python": write_python("picky", folder / "picky"),
        "brittle": model("brittle"),
        "sleepy": model("sleepy"),
    }
    for name, source in folders.items():
        await stage.publisher.publish(name, 1, source)
    for version, kind in enumerate(VERSIONS, 1):
        await stage.publisher.publish("many", version, model(kind))
    await stage.publisher.configure(
        ConfigChange(model="many", policy=VersionPolicy(kind=PolicyKind.ALL), labels={"stable": 2}),
        wait="fleet",
    )
    for name in folders:
        await stage.node.event("version.available", model=name)


class Gated:
    """A Python model that loads, and answers, when it is let: x float32 [n] → y = x.

    What a node warms it with, zeros, it answers at once.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "model"
        self._load, self._run = folder / "may-load", folder / "may-run"
        self.path.mkdir(parents=True)
        (self.path / "model.py").write_text(
            dedent(f"""
                import time
                from pathlib import Path

                def wait_for(file):
                    for _ in range(6000):
                        if Path(file).exists():
                            return
                        time.sleep(0.01)
                    raise TimeoutError(file)

                class Model:
                    inputs = {{"x": ("float32", (None,))}}
                    outputs = {{"y": ("float32", (None,))}}

                    def __init__(self, folder):
                        wait_for({str(self._load)!r})

                    def predict(self, inputs):
                        if inputs["x"].any():
                            wait_for({str(self._run)!r})
                        return {{"y": inputs["x"]}}
            """)
        )

    def let_load(self) -> None:
        """Let it load."""
        self._load.touch()

    def let_run(self) -> None:
        """Let it answer."""
        self._run.touch()


@contextmanager
def gated(stage: Stage, name: str, folder: Path) -> Generator[Gated, None, None]:
    """Publish a model that loads now and answers later; let it, and forget it, in the end."""
    gate = Gated(folder)
    stage.run(stage.publisher.publish(name, 1, gate.path))
    try:
        yield gate
    finally:
        gate.let_load()
        gate.let_run()
        stage.run(stage.publisher.forget(name, force=True))
