"""What a publisher finds out about a SavedModel without TensorFlow."""

from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.publisher.errors import InvalidModel
from headrace.publisher.model_folder import inspect
from tests.fakes.saved_models import write_saved_model


def test_tells_the_signatures_without_the_initialiser(tmp_path: Path) -> None:
    """TensorFlow stores its initialiser as a signature, which nobody may call."""
    names = ("serving_default", "__saved_model_init_op", "embed")
    folder = write_saved_model(tmp_path / "m", signatures=names)
    assert inspect(folder).signatures == ("embed", "serving_default")


def test_takes_a_model_without_variables(tmp_path: Path) -> None:
    """A model may be all constants."""
    assert inspect(write_saved_model(tmp_path / "m", shards=0)).path == tmp_path / "m"


def test_takes_variables_in_many_shards(tmp_path: Path) -> None:
    """A complete set of shards is fine, also beside what an older save left."""
    folder = write_saved_model(tmp_path / "m", shards=3)
    (folder / "variables" / "variables.data-00001-of-00005").write_bytes(b"older")
    assert inspect(folder).signatures == ("serving_default",)


def test_names_the_version_that_was_meant(tmp_path: Path) -> None:
    """`/models/ranker` is what one types; `/models/ranker/42` is what is a model."""
    write_saved_model(tmp_path / "ranker" / "7")
    write_saved_model(tmp_path / "ranker" / "42")
    with pytest.raises(InvalidModel, match=r"folder of versions.*did you mean .*/ranker/42\?"):
        inspect(tmp_path / "ranker")


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _write(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: _put(folder / name, data)


def _put(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _truncate(folder: Path) -> None:
    graph = folder / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:-3])


INDEX = "variables/variables.index"
SECOND_SHARD = "variables/variables.data-00001-of-00002"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_remove("saved_model.pb"), r"is not a model: it holds variables, and no saved_model.pb"),
        (_truncate, r"saved_model.pb is truncated or not a SavedModel"),
        (_write("saved_model.pb", b"\xff\xfe no protobuf"), r"truncated or not a SavedModel"),
        (_write("saved_model.pb", b""), r"saved_model.pb holds no graph \(0 bytes\)"),
        (_remove(INDEX), r"variables.index is missing, but its data shards are there"),
        (_write(INDEX, b""), r"variables.index is empty"),
        (_remove(SECOND_SHARD), r"variables.data-00001-of-00002 is missing"),
        (_write(SECOND_SHARD, b""), r"variables.data-00001-of-00002 is empty"),
    ],
)
def test_names_the_file_that_is_wrong(
    tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    """Every broken copy is found before it is published, by the name of the file."""
    folder = write_saved_model(tmp_path / "m", shards=2)
    damage(folder)
    with pytest.raises(InvalidModel, match=words):
        inspect(folder)


def test_names_the_first_shard_when_there_is_none(tmp_path: Path) -> None:
    """An index alone is what a copy that stopped early leaves."""
    folder = write_saved_model(tmp_path / "m", shards=1)
    (folder / "variables" / "variables.data-00000-of-00001").unlink()
    with pytest.raises(InvalidModel, match=r"variables.data-00000-of-00001 is missing"):
        inspect(folder)


def test_refuses_a_model_without_signatures(tmp_path: Path) -> None:
    """`tf.saved_model.save` without signatures makes a model that nobody can call."""
    folder = write_saved_model(tmp_path / "m", signatures=("__saved_model_init_op",))
    with pytest.raises(InvalidModel, match="no signature to call"):
        inspect(folder)


def test_refuses_a_model_that_is_not_for_serving(tmp_path: Path) -> None:
    """Only the graph tagged `serve` is what nodes load."""
    folder = write_saved_model(tmp_path / "m", tags=("train", "gpu"))
    with pytest.raises(InvalidModel, match=r"no graph tagged 'serve', it has 'train', 'gpu'"):
        inspect(folder)


def test_refuses_paths_that_are_no_folder(tmp_path: Path) -> None:
    """Nothing there, and a file, are told apart."""
    folder = write_saved_model(tmp_path / "m")
    with pytest.raises(InvalidModel, match=r"there is nothing at .*/nowhere"):
        inspect(tmp_path / "nowhere")
    with pytest.raises(InvalidModel, match=r"is a file.*did you mean its folder, .*/m\?"):
        inspect(folder / "saved_model.pb")
