"""What kind of model a folder holds, and what is found out about ONNX and Python without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.publisher.artifact import examine
from headrace.publisher.errors import InvalidArgument, InvalidModel
from headrace.publisher.model_folder import inspect
from tests.fakes.saved_models import write_saved_model
from tests.onnx_models import write_onnx
from tests.python_models import write_python


def test_the_files_tell_the_platform(tmp_path: Path) -> None:
    """One does not have to say it."""
    folders = {
        "tensorflow": write_saved_model(tmp_path / "t"),
        "onnx": write_onnx("half_plus_two", tmp_path / "o", "any.onnx"),
        "python": write_python("half_plus_two", tmp_path / "p"),
    }
    for platform, folder in folders.items():
        summary = inspect(folder)
        assert (summary.platform, summary.signatures) == (platform, ("serving_default",))


def test_what_may_be_two_kinds_is_asked_about(tmp_path: Path) -> None:
    """A Python class may well use an ONNX file."""
    folder = write_python("half_plus_two", write_onnx("half_plus_two", tmp_path / "m"))
    with pytest.raises(InvalidModel, match=r"may be for onnx or python: say which .*--platform"):
        inspect(folder)
    assert inspect(folder, "python").platform == "python"
    assert inspect(folder, "onnx").platform == "onnx"


def test_a_folder_for_another_platform_is_taken_as_it_is(tmp_path: Path) -> None:
    """Only its package knows what belongs there."""
    summary = inspect(tmp_path, "linear")
    assert (summary.platform, summary.signatures) == ("linear", ())
    with pytest.raises(InvalidArgument, match="cannot be a name"):
        inspect(tmp_path, "no/name")


def test_folders_of_versions_and_of_nothing_are_told(tmp_path: Path) -> None:
    """Whatever kind the versions are."""
    with pytest.raises(InvalidModel, match=r"not a model: it holds nothing, and no saved_model.pb"):
        inspect(tmp_path)
    write_onnx("half_plus_two", tmp_path / "7")
    with pytest.raises(InvalidModel, match=r"folder of versions.*did you mean .*/7\?"):
        inspect(tmp_path)
    with pytest.raises(InvalidModel, match=r"is a file.*did you mean its folder, .*/7\?"):
        inspect(tmp_path / "7/model.onnx")


@pytest.mark.parametrize("platform", ["tensorflow", "onnx", "python"])
def test_a_folder_of_another_kind_is_refused(tmp_path: Path, platform: str) -> None:
    """Whoever says what it is should be right."""
    (tmp_path / "notes.txt").write_text("nothing to serve")
    with pytest.raises(InvalidModel, match=r"is not an? \w+( model)?: it has no"):
        inspect(tmp_path, platform)


def test_an_onnx_file_that_is_cut_off_is_found(tmp_path: Path) -> None:
    """A copy that stopped early, and something else under that name."""
    file = write_onnx("half_plus_two", tmp_path) / "model.onnx"
    whole = file.read_bytes()
    for data, words in (
        (whole[:-3], "truncated or not an ONNX model"),
        (b"\xff\xfe no protobuf", "truncated or not an ONNX model"),
        (b"", r"holds no graph \(0 bytes\)"),
    ):
        file.write_bytes(data)
        with pytest.raises(InvalidModel, match=words):
            inspect(tmp_path)


def test_weights_beside_an_onnx_file_have_to_be_there(tmp_path: Path) -> None:
    """Nodes would fail without them, one after another."""
    write_onnx("with_weights", tmp_path)
    assert inspect(tmp_path).platform == "onnx"
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(
        InvalidModel, match=r"weights.bin, which holds weights of model.onnx, is mi"
    ):
        inspect(tmp_path)


def test_several_onnx_files_need_one_that_is_named_model(tmp_path: Path) -> None:
    """Nobody guesses which is meant."""
    write_onnx("half_plus_two", tmp_path, "a.onnx")
    write_onnx("half_plus_two", tmp_path, "b.onnx")
    with pytest.raises(InvalidModel, match=r"several ONNX files: .* model.onnx: a.onnx, b.onnx"):
        inspect(tmp_path)
    write_onnx("half_plus_two", tmp_path)
    assert inspect(tmp_path).platform == "onnx"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("class Model(:\n", r"model.py line 1 is not Python"),
        ("class Net:\n    def predict(self, inputs): ...\n", "has no class Model"),
        (
            "class Model:\n    def forward(self, inputs): ...\n",
            r"no method predict\(self, inputs\)",
        ),
        ("class Model:\n    x = '\0'\n", "is not Python"),
    ],
)
def test_python_that_cannot_be_asked_is_refused(tmp_path: Path, source: str, words: str) -> None:
    """Without running it."""
    (tmp_path / "model.py").write_text(source)
    with pytest.raises(InvalidModel, match=words):
        inspect(tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        "from net import Net as Model",
        "Model = object",
        "class Model(Net): ...",
        "class Model:\n    predict = forward",
        "if fast:\n    class Model:\n        def predict(self, inputs): ...\n",
    ],
)
def test_what_only_running_can_tell_is_left_to_the_nodes(tmp_path: Path, source: str) -> None:
    """A class may come from anywhere and inherit what it needs."""
    (tmp_path / "model.py").write_text(source)
    assert inspect(tmp_path).platform == "python"


async def test_what_python_compiled_is_no_part_of_the_model(tmp_path: Path) -> None:
    """Trying a model before it is published does not make it another one."""
    folder = write_python("half_plus_two", tmp_path)
    before = await examine(folder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/model.cpython-311.pyc").write_bytes(b"compiled")
    assert (await examine(folder)).manifest.digest == before.manifest.digest
