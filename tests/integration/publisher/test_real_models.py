"""What TensorFlow really writes, looked over without TensorFlow."""

import subprocess
import sys
from pathlib import Path

import pytest

from headrace.publisher.artifact import examine
from headrace.publisher.errors import InvalidModel
from headrace.publisher.model_folder import inspect

# In a process of its own: this one stays free of TensorFlow, as a publisher is.
SAVE = """
import sys, tensorflow as tf

class Ranker(tf.Module):
    def __init__(self):
        self.weight = tf.Variable([[0.5], [1.5]])

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def score(self, x):
        return {"y": x @ self.weight}

class Constant(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def echo(self, text):
        return {"text": text}

root, ranker, constant = sys.argv[1], Ranker(), Constant()
tf.saved_model.save(
    ranker, f"{root}/ranker", signatures={"serving_default": ranker.score, "score": ranker.score}
)
tf.saved_model.save(ranker, f"{root}/unsigned", signatures={})
tf.saved_model.save(constant, f"{root}/constant", signatures={"echo": constant.echo})

with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    x = tf.compat.v1.placeholder(tf.float32, [None], "x")
    weight = tf.compat.v1.get_variable("weight", [], initializer=tf.compat.v1.ones_initializer())
    session.run(tf.compat.v1.global_variables_initializer())
    tf.compat.v1.saved_model.simple_save(session, f"{root}/tf1", {"x": x}, {"y": x * weight})
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of SavedModels that TensorFlow wrote."""
    root = tmp_path_factory.mktemp("saved")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(
        [sys.executable, "-c", SAVE, str(root)],
        check=True,
        timeout=110,
        env=environment,
        capture_output=True,
    )
    return root


@pytest.mark.parametrize(
    ("name", "signatures"),
    [
        ("ranker", ("score", "serving_default")),
        ("constant", ("echo",)),
        ("tf1", ("serving_default",)),
    ],
)
def test_takes_what_tensorflow_writes(saved: Path, name: str, signatures: tuple[str, ...]) -> None:
    """Models of TensorFlow 2 and 1, with and without variables."""
    assert inspect(saved / name).signatures == signatures


def test_refuses_a_model_that_nobody_can_call(saved: Path) -> None:
    """Saved without signatures it loads everywhere and serves nowhere."""
    with pytest.raises(InvalidModel, match="no signature to call"):
        inspect(saved / "unsigned")


async def test_every_file_is_hashed(saved: Path) -> None:
    """Also those that only TensorFlow knows the use of."""
    artifact = await examine(saved / "ranker")
    files = {str(p.relative_to(saved / "ranker")) for p in (saved / "ranker").rglob("*")}
    assert set(artifact.manifest.files) == {f for f in files if (saved / "ranker" / f).is_file()}
    assert artifact.manifest.size_bytes > 0
