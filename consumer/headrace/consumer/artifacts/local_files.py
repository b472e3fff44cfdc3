"""Opens files of a store on this machine: plain ones, inside, through no link.

What lies in a store is copied as it is read, so a link could make a node read, and a pipe make it
wait, anywhere. Each part of the path is opened from the one before it: nothing is checked first and
used later.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO, Final

from headrace.consumer.core.errors import ArtifactCorrupt

# What opening a link (or a socket) without following it fails with.
_LINKS: Final = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO})
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A pipe is not waited for.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_inside(root: str, path: str) -> BinaryIO:
    """Open `path`, a relative one, below the folder `root`; the folder itself may be a link.

    Raises:
        ArtifactCorrupt: a part of the path is a link, or it leads to no plain file.
        OSError: it is not there, or cannot be read.
    """
    *folders, name = path.split("/")
    parent = os.open(root, _FOLDER)
    try:
        for folder in folders:
            inner = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
            os.close(parent)
            parent = inner
        descriptor = os.open(name, _FILE, dir_fd=parent)
    except OSError as error:
        if error.errno in _LINKS:
            raise _strange(root, path) from error
        raise
    finally:
        os.close(parent)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _strange(root, path)
    return os.fdopen(descriptor, "rb")


def _strange(root: str, path: str) -> ArtifactCorrupt:
    return ArtifactCorrupt(
        f"{path!r} in {root} is a link, a device or a pipe, or leads through one; an artefact is "
        "of plain files: publish the version again"
    )
