"""What publishing must never load."""

import subprocess
import sys

import pytest

HEAVY = {"onnxruntime", "tensorflow", "grpc", "keras", "aiohttp", "msgspec", "headrace.consumer"}


def run(script: str) -> str:
    """Run a script in a fresh interpreter and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


@pytest.mark.parametrize(
    "modules",
    [
        "headrace.publisher",
        "headrace.publisher.models, headrace.publisher.requests",
        "headrace.publisher.validation, headrace.publisher.trial, headrace.cli.tolerances",
        "headrace.publisher.pusher, headrace.publisher.training",
        "headrace.cli.commands.publish, headrace.cli.commands.retire",
        "headrace.cli.commands.config, headrace.cli.commands.forget",
        "headrace.cli.commands.dead_letters, headrace.cli.letter_desk, headrace.cli.letter_view",
        "headrace.cli.publish_progress, headrace.cli.outcome, headrace.cli.options",
    ],
)
def test_import_loads_nothing_heavy(modules: str) -> None:
    """A training job has the plain install."""
    loaded = set(run(f"import sys, {modules}\nprint('\\n'.join(sys.modules))").split())
    assert loaded & HEAVY == set()


def test_commands_load_no_client_before_they_run() -> None:
    """The help page of the program imports them all."""
    commands = "from headrace.cli.commands import publish, retire, config, forget, dead_letters"
    loaded = set(run(f"import sys\n{commands}\nprint('\\n'.join(sys.modules))").split())
    assert loaded & {"aiokafka", "fastavro", "numpy", "fsspec"} == set()


def test_looking_a_model_over_loads_nothing_heavy() -> None:
    """Validation reads the SavedModel's protobuf with definitions of its own."""
    script = """
import sys, tempfile
from pathlib import Path
from headrace.protos.saved_model_pb2 import SavedModel
from headrace.publisher.model_folder import inspect
model = SavedModel()
graph = model.meta_graphs.add()
graph.meta_info_def.tags.append("serve")
graph.signature_def["serving_default"].method_name = "predict"
with tempfile.TemporaryDirectory() as folder:
    Path(folder, "saved_model.pb").write_bytes(model.SerializeToString())
    assert inspect(folder).signatures == ("serving_default",)
print("\\n".join(sys.modules))
"""
    assert set(run(script).split()) & HEAVY == set()


def test_without_keras_its_callback_says_what_to_install() -> None:
    """The plain install has the module, and not what it needs."""
    script = """
import sys
sys.modules["keras"] = None
try:
    import headrace.publisher.keras
except ImportError as error:
    print(error)
"""
    assert "pip install 'headrace[keras]'" in run(script)
