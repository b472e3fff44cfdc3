"""Pushing what a TFX pipeline leaves behind, onto a real log."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from headrace.publisher import InvalidArgument, InvalidModel, ModelPublisher
from headrace.publisher.pusher import PushedModel, push
from tests.models import model


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A folder for what pipeline components write."""
    folder = tmp_path / "pipeline"
    folder.mkdir()
    return folder


def blessing(folder: Path, *names: str) -> Path:
    """Write a blessing as TFX's components do: empty files whose names say it."""
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    "inside",
    [
        ".",
        "Format-Serving",
        "serving_model_dir",
        "serving_model_dir/export/taxi/1582798459",
        "stamped_model",
        "1582798459",
        "Format-Serving/3",
    ],
)
async def test_finds_the_model_in_every_layout(
    exported: Path, inside: str, publisher: ModelPublisher
) -> None:
    """Of Trainer now and once, of InfraValidator, of TensorFlow Serving, and a bare model."""
    shutil.copytree(model("half_plus_two"), exported / inside, dirs_exist_ok=True)
    pushed = push(exported, "taxi", publisher=publisher)
    expected = await publisher.publish("taxi", 2, model("half_plus_two"))
    assert pushed.published
    assert (pushed.published.version, pushed.published.digest) == (1, expected.digest)


async def test_the_highest_numbered_version_is_pushed(
    exported: Path, publisher: ModelPublisher
) -> None:
    """As TensorFlow Serving would serve it; by number, not by name."""
    for name, number in (("upper", "9"), ("half_plus_two", "10")):
        shutil.copytree(model(name), exported / number)
    pushed = push(exported, "taxi", publisher=publisher).published
    expected = await publisher.publish("taxi", 2, model("half_plus_two"))
    assert pushed is not None
    assert pushed.digest == expected.digest


async def test_blessed_models_get_the_next_version(
    exported: Path, publisher: ModelPublisher
) -> None:
    """With the properties that TFX's Pusher sets, and what travels with the version."""
    evaluator = blessing(exported / "blessing", "BLESSED")
    infra = blessing(exported / "infra", "INFRA_BLESSED")
    await publisher.publish("taxi", 41, model("upper"))
    pushed = push(
        model("upper"),
        "taxi",
        publisher=publisher,
        model_blessing=evaluator,
        infra_blessing=infra,
        metadata={"pipeline": "taxi-7"},
    )
    assert pushed.is_pushed
    assert pushed.published
    assert pushed.published.control_offset == 1
    assert pushed.custom_properties == {
        "pushed": 1,
        "pushed_destination": pushed.published.uri,
        "pushed_version": "42",
    }


@pytest.mark.parametrize(
    ("evaluator", "infra", "words"),
    [
        (["NOT_BLESSED"], ["INFRA_BLESSED"], "Evaluator did not bless the model"),
        ([], None, "holds nothing, and should hold BLESSED"),
        (["BLESSED", "NOT_BLESSED"], None, "holds BLESSED, NOT_BLESSED"),
        (["BLESSED"], ["INFRA_NOT_BLESSED"], "InfraValidator did not bless the model"),
        (None, ["BLESSED"], "should hold INFRA_BLESSED"),
    ],
)
async def test_a_model_without_its_blessing_is_not_pushed(
    exported: Path,
    publisher: ModelPublisher,
    evaluator: list[str] | None,
    infra: list[str] | None,
    words: str,
) -> None:
    """The result says why, and the log stays as it was."""
    pushed = push(
        model("half_plus_two"),
        "taxi",
        publisher=publisher,
        model_blessing=None if evaluator is None else blessing(exported / "model", *evaluator),
        infra_blessing=None if infra is None else blessing(exported / "infra", *infra),
    )
    assert pushed == PushedModel(published=None, reason=pushed.reason)
    assert words in pushed.reason
    assert pushed.custom_properties == {"pushed": 0}
    assert (await publisher.publish("taxi", None, model("half_plus_two"))).control_offset == 0


async def test_version_may_be_the_time_or_a_number(publisher: ModelPublisher) -> None:
    """Seconds since 1970, as TFX's Pusher has it."""
    before = int(time.time())
    stamped = push(model("upper"), "taxi", publisher=publisher, version="unix_timestamp").published
    numbered = push(model("upper"), "taxi", publisher=publisher, version=7).published
    assert stamped is not None
    assert numbered is not None
    assert before <= stamped.version <= int(time.time())
    assert numbered.version == 7


async def test_refuses_folders_that_cannot_be(exported: Path, publisher: ModelPublisher) -> None:
    """Each by name, with what to do."""
    good = model("half_plus_two")
    with pytest.raises(InvalidArgument, match="there is no blessing at"):
        push(good, "taxi", publisher=publisher, model_blessing=exported / "nowhere")
    with pytest.raises(InvalidArgument, match="copy it here first"):
        push("gs://bucket/model", "taxi", publisher=publisher)
    with pytest.raises(InvalidArgument, match="give a number, 'next' or 'unix_timestamp'"):
        push(good, "taxi", publisher=publisher, version="latest")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidModel, match="there is nothing at"):
        push(exported / "nowhere", "taxi", publisher=publisher)
    for timestamp in ("1", "2"):
        (exported / "serving_model_dir/export/taxi" / timestamp).mkdir(parents=True)
    with pytest.raises(InvalidModel, match="should hold one folder, it holds 1, 2"):
        push(exported, "taxi", publisher=publisher)
