"""Counts what one client gets: answers, failures, and how many digits each version reads right."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from headrace.cli.quickstart.messages import Counted, VersionCount


@dataclass(slots=True)
class _Version:
    seen: npt.NDArray[np.bool_]
    right: npt.NDArray[np.bool_]
    answers: int = 0


@dataclass(slots=True)
class Tally:
    """The count of one client, over the held-out digits by their index.

    The accuracy of a version counts each digit once, however often it was asked.

    **Concurrency:** one event loop or thread.
    """

    labels: npt.NDArray[np.int64]
    sent: int = 0
    failed: int = 0
    first_failure: str = ""
    _versions: dict[int, _Version] = field(default_factory=dict[int, _Version])

    def send(self, requests: int = 1) -> None:
        """Count requests that are on their way."""
        self.sent += requests

    def answer(self, version: int, index: int, digit: int) -> None:
        """Count an answer: `version` says that the image at `index` shows `digit`."""
        count = self._versions.get(version)
        if count is None:
            nothing = np.zeros(len(self.labels), dtype=np.bool_)
            count = self._versions[version] = _Version(nothing, nothing.copy())
        count.answers += 1
        count.seen[index] = True
        count.right[index] = digit == self.labels[index]

    def fail(self, reason: str) -> None:
        """Count a request that was answered with an error, or not at all."""
        self.failed += 1
        self.first_failure = self.first_failure or reason

    def counted(self) -> Counted:
        """Return the count so far."""
        return Counted(
            sent=self.sent,
            failed=self.failed,
            first_failure=self.first_failure,
            versions=tuple(
                VersionCount(
                    version=version,
                    answers=count.answers,
                    covered=int(count.seen.sum()),
                    correct=int(count.right.sum()),
                )
                for version, count in sorted(self._versions.items())
            ),
        )
