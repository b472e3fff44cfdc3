"""Tiny Python models for tests: `write_python("half_plus_two", folder)` writes one.

half_plus_two   x float32 [n, 1] → y = 0.5 x + 2; its numbers are in a module and a file beside it
picky           x float32 [n] → the same; raises when one is 100 or more, leaves at 200
text            text string [n] → same string [n]
sleepy          seconds float32 [n] → the same, after the longest of them
noisy           x float32 [n] → the same; prints, and leaves a thread running
lying           x float32 [n] → what its signature does not say, chosen by x
counting        x float32 [n] → in how many rows it was called with, for each
alone           the same, and wants no company
"""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

VECTOR = """
import numpy as np

class Model:
    inputs = {"x": ("float32", (None,))}
    outputs = {"y": ("float32", (None,))}

    def __init__(self, folder):
        pass
"""

SOURCES = {
    "half_plus_two": """
        from pathlib import Path

        import numpy as np

        from numbers_of_mine import HALF


        class Model:
            inputs = {"x": ("float32", (None, 1))}
            outputs = {"y": ("float32", (None, 1))}

            def __init__(self, folder: Path) -> None:
                self.two = float((folder / "two.txt").read_text())

            def predict(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
                inputs["x"] *= HALF
                return {"y": inputs["x"] + self.two}
        """,
    "picky": VECTOR
    + """
    def predict(self, inputs):
        if (inputs["x"] >= 200).any():
            raise SystemExit(3)
        if (inputs["x"] >= 100).any():
            raise ValueError("x is too large")
        return {"y": inputs["x"]}
""",
    "text": """
        class Model:
            inputs = {"text": ("string", (None,))}
            outputs = {"same_text": ("string", (None,))}

            def __init__(self, folder):
                pass

            def predict(self, inputs):
                return {"same_text": [each.decode(errors="surrogateescape").encode(
                    errors="surrogateescape") for each in inputs["text"]]}
        """,
    "sleepy": """
        import time

        class Model:
            inputs = {"seconds": ("float32", (None,))}
            outputs = {"seconds": ("float32", (None,))}

            def __init__(self, folder):
                pass

            def predict(self, inputs):
                time.sleep(float(inputs["seconds"].max(initial=0)))
                return inputs
        """,
    "noisy": VECTOR
    + """
        import threading
        print("loaded on stdout")
        threading.Thread(target=threading.Event().wait).start()

    def predict(self, inputs):
        print("asked on stdout")
        return {"y": inputs["x"]}
""",
    "lying": VECTOR
    + """
    def predict(self, inputs):
        x = inputs["x"]
        return {
            1: {"y": x[:, None]},
            2: {"z": x},
            3: {"y": x.astype(complex)},
            4: x,
            5: {"y": [object()]},
        }.get(int(x[0]), {"y": x.astype(np.float64)})
""",
    "counting": VECTOR
    + """
    def predict(self, inputs):
        return {"y": np.full_like(inputs["x"], len(inputs["x"]))}
""",
    "alone": VECTOR
    + """
    is_batchable = False

    def predict(self, inputs):
        return {"y": np.full_like(inputs["x"], len(inputs["x"]))}
""",
}


def write_python(name: str, folder: Path) -> Path:
    """Write a model into a folder and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(dedent(SOURCES[name]))
    if name == "half_plus_two":
        (folder / "numbers_of_mine.py").write_text("HALF = 0.5\n")
        (folder / "two.txt").write_text("2")
    return folder
