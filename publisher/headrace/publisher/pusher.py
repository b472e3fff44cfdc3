"""The last step of a TFX pipeline: a blessed model becomes a published version.

Does what TFX's Pusher does with a folder of a file system, and needs no TFX: it reads the folders
that Trainer, Evaluator and InfraValidator write.

Source: TFX at 58435d6, tfx/components/{pusher,evaluator,infra_validator} and
tfx/utils/path_{utils,constants}.py.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Unpack

from headrace.publisher import configuration
from headrace.publisher.errors import InvalidArgument, InvalidModel
from headrace.publisher.events import Published
from headrace.publisher.models import ModelPublisher
from headrace.publisher.saved_model import GRAPH_FILE
from headrace.publisher.training import (
    PublishOptions,
    publish_blocking,
    publisher_from_environment,
)

StrPath = str | os.PathLike[str]

# Of Trainer now, of Trainer once, and of InfraValidator, which adds a warm-up to the model.
_MODEL_FOLDERS: Final = ("Format-Serving", "serving_model_dir", "stamped_model")


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedModel:
    """What became of a push: what was published, or why nothing was."""

    published: Published | None
    reason: str = ""

    @property
    def is_pushed(self) -> bool:
        """Whether the version is in the log."""
        return self.published is not None

    @property
    def custom_properties(self) -> Mapping[str, int | str]:
        """What TFX's Pusher sets on its PushedModel artefact."""
        if self.published is None:
            return {"pushed": 0}
        return {
            "pushed": 1,
            "pushed_destination": self.published.uri,
            "pushed_version": str(self.published.version),
        }


def push(
    model_path: StrPath,
    model: str,
    *,
    publisher: ModelPublisher | None = None,
    model_blessing: StrPath | None = None,
    infra_blessing: StrPath | None = None,
    version: int | Literal["next", "unix_timestamp"] = "next",
    **options: Unpack[PublishOptions],
) -> PushedModel:
    """Publish a model of a TFX pipeline, unless its validation did not bless it.

    Args:
        model_path: a folder as Trainer or InfraValidator writes it, a folder of numbered versions,
            of which the highest is taken, or a model.
        model: what to publish as.
        publisher: where to, with which topics and store; None asks the environment, as the
            commands do.
        model_blessing: the folder that Evaluator wrote; None asks for no blessing of it.
        infra_blessing: the folder that InfraValidator wrote; None asks for no blessing of it.
        version: a number, the `next` free one, or the seconds since 1970, as TFX's Pusher does.
        options: as in `ModelPublisher.publish`.

    Raises:
        InvalidArgument: a folder is not there, or an argument cannot be; nothing was written.
        PublisherError: as `ModelPublisher.publish`.

    Concurrency: blocks, also where an event loop runs; the publisher must not be in use meanwhile.
    """
    configuration.check_name(model)
    reason = _refusal(model_blessing, "Evaluator", "BLESSED", "NOT_BLESSED") or _refusal(
        infra_blessing, "InfraValidator", "INFRA_BLESSED", "INFRA_NOT_BLESSED"
    )
    if reason:
        return PushedModel(published=None, reason=reason)
    published = publish_blocking(
        publisher or publisher_from_environment(),
        model,
        _number(version),
        _model_folder(_local(model_path)),
        **options,
    )
    return PushedModel(published=published)


def _number(version: int | Literal["next", "unix_timestamp"]) -> int | None:
    if version == "next":
        return None
    if version == "unix_timestamp":
        return int(time.time())
    if not isinstance(version, int):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
        raise InvalidArgument(
            f"version {version!r} is not known: give a number, 'next' or 'unix_timestamp'"
        )
    return version


def _local(path: StrPath) -> Path:
    if "://" in os.fspath(path):
        raise InvalidArgument(
            f"{path} is not a folder of this machine: copy it here first, then push the copy"
        )
    return Path(path).expanduser()


def _refusal(folder: StrPath | None, component: str, blessed: str, not_blessed: str) -> str:
    """Return why a blessing is none, or nothing."""
    if folder is None:
        return ""
    found = _local(folder)
    if not found.is_dir():
        raise InvalidArgument(
            f"there is no blessing at {found}: give the folder that {component} wrote"
        )
    names = {child.name for child in found.iterdir()}
    if blessed in names and not_blessed not in names:
        return ""
    holds = ", ".join(sorted(names)) or "nothing"
    return f"{component} did not bless the model: {found} holds {holds}, and should hold {blessed}"


def _model_folder(path: Path) -> Path:
    """Return the folder of the model itself."""
    found = next((path / name for name in _MODEL_FOLDERS if (path / name).is_dir()), path)
    if (found / "export").is_dir():  # of an Estimator: export/<exporter>/<timestamp>
        found = _only_folder(_only_folder(found / "export"))
    if found.is_dir() and not (found / GRAPH_FILE).exists():
        versions = [child for child in found.iterdir() if child.name.isdecimal()]
        found = max(versions, key=lambda child: int(child.name), default=found)
    return found


def _only_folder(path: Path) -> Path:
    folders = sorted(child for child in path.iterdir() if child.is_dir())
    if len(folders) != 1:
        names = ", ".join(child.name for child in folders) or "none"
        raise InvalidModel(f"{path} should hold one folder, it holds {names}: push the one meant")
    return folders[0]
