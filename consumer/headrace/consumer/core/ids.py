"""Names of what is served."""

from __future__ import annotations

from typing import NamedTuple


class ServableId(NamedTuple):
    """A model's name and a version number: what a client may ask for."""

    model: str
    version: int

    def __str__(self) -> str:
        return f"{self.model}/{self.version}"
