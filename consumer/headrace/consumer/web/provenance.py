"""What an answer says of its origin, in headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote
from weakref import WeakKeyDictionary

from headrace.consumer.core.serving_map import Serving

HEADERS: Final = (
    "headrace-model",
    "headrace-version",
    "headrace-control-offset",
    "headrace-artifact-digest",
    "headrace-node",
)


class Provenance:
    """The headers of every answer that a version gives.

    **Concurrency:** event loop only.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self._known: WeakKeyDictionary[Serving, Mapping[str, str]] = WeakKeyDictionary()

    def of(self, serving: Serving) -> Mapping[str, str]:
        """Return the headers of every answer that this version gives."""
        known = self._known.get(serving)
        if known is None:
            facts = (
                serving.id.model,
                serving.id.version,
                serving.planned.control_offset,
                serving.planned.record.digest,
                self._node,
            )
            # What a publisher wrote must not become an illegal header.
            values = [quote(str(fact), safe=":/") for fact in facts]
            known = self._known[serving] = dict(zip(HEADERS, values, strict=True))
        return known
