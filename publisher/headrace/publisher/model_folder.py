"""What kind of model a folder holds, and what a publisher tells of it; no platform is imported.

Each kind that Headrace serves is looked over by a module of its own. A folder for a platform that
other packages bring is taken as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace.publisher import onnx_model, python_class, saved_model
from headrace.publisher.errors import InvalidArgument, InvalidModel
from headrace.publisher.interface import Interface
from headrace.schemas.records import MODEL_NAME, SignatureSpec

TENSORFLOW: Final = "tensorflow"
ONNX: Final = "onnx"
PYTHON: Final = "python"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSummary:
    """A model's folder, what can load it, and what it can be asked, as far as that is known."""

    path: Path
    platform: str
    signatures: tuple[str, ...]
    interface: tuple[SignatureSpec, ...] = ()


def inspect(path: str | os.PathLike[str], platform: str | None = None) -> ModelSummary:
    """Return what the folder at `path` offers; without a platform, its files tell which it is.

    Raises:
        InvalidArgument: the platform has a name that cannot be.
        InvalidModel: it cannot be served; the message names the file and what to do.
    """
    if platform is not None and not MODEL_NAME.fullmatch(platform):
        raise InvalidArgument(
            f"platform {platform!r:.80} cannot be a name: use letters, digits, '.', '_' and '-'"
        )
    folder = Path(path).expanduser()
    try:
        _check_folder(folder)
        chosen = platform or _platform_of(folder)
        look_over = _KINDS.get(chosen)
        found = look_over(folder) if look_over else Interface(names=())
    except OSError as error:
        raise InvalidModel(
            f"cannot read {error.filename or folder}: {error.strerror or error}: check the path "
            "and its permissions"
        ) from error
    return ModelSummary(
        path=folder.absolute(),
        platform=chosen,
        signatures=found.names,
        interface=found.signatures,
    )


_KINDS: Final[Mapping[str, Callable[[Path], Interface]]] = {
    TENSORFLOW: saved_model.interface,
    ONNX: onnx_model.interface,
    PYTHON: python_class.interface,
}


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        raise InvalidModel(f"there is nothing at {folder}: give the folder of a model")
    if not folder.is_dir():
        meant = f": did you mean its folder, {folder.parent}?" if _kinds(folder.parent) else ""
        raise InvalidModel(f"{folder} is a file, not the folder of a model{meant}")


def _kinds(folder: Path) -> list[str]:
    found = {
        TENSORFLOW: (folder / saved_model.GRAPH_FILE).is_file(),
        ONNX: any(onnx_model.files(folder)),
        PYTHON: (folder / python_class.FILE).is_file(),
    }
    return [platform for platform, is_there in found.items() if is_there]


def _platform_of(folder: Path) -> str:
    kinds = _kinds(folder)
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        raise InvalidModel(
            f"{folder} may be for {' or '.join(kinds)}: say which platform is to load it "
            "(--platform)"
        )
    versions = [int(each.name) for each in folder.iterdir() if each.name.isdecimal()]
    meant = [number for number in versions if _kinds(folder / str(number))]
    if meant:
        raise InvalidModel(
            f"{folder} is a folder of versions, not a model: did you mean "
            f"{folder / str(max(meant))}?"
        )
    if (folder / "saved_model.pbtxt").is_file():
        raise InvalidModel(
            f"the SavedModel in {folder} is in text form: save it in binary form "
            f"({saved_model.GRAPH_FILE})"
        )
    raise InvalidModel(
        f"{folder} is not a model: it holds {_shown(folder)}, and no {saved_model.GRAPH_FILE} "
        f"(TensorFlow), *.onnx (ONNX) or {python_class.FILE} (Python); for another platform, name "
        "it (--platform)"
    )


def _shown(folder: Path, limit: int = 5) -> str:
    names = sorted(child.name for child in folder.iterdir())
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more if names else "nothing"
