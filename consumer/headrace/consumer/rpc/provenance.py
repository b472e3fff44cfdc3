"""What an answer says of its origin, in the trailing metadata of the call."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote
from weakref import WeakKeyDictionary

from headrace.consumer.core.serving_map import Serving

PROVENANCE_KEY: Final = "headrace-provenance"

Metadata = tuple[tuple[str, str], ...]


class Provenance:
    """One metadata entry per version: `model=m version=3 control-offset=17 …`, space-separated.

    One entry and not five: each costs the node 2 µs a call, five of them 5 % of an empty call.

    **Concurrency:** event loop only.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self._known: WeakKeyDictionary[Serving, Metadata] = WeakKeyDictionary()

    def of(self, serving: Serving) -> Metadata:
        """Return the trailing metadata of every answer that this version gives."""
        known = self._known.get(serving)
        if known is None:
            known = self._known[serving] = ((PROVENANCE_KEY, self._describe(serving)),)
        return known

    def _describe(self, serving: Serving) -> str:
        facts = {
            "model": serving.id.model,
            "version": serving.id.version,
            "control-offset": serving.planned.control_offset,
            "artifact-digest": serving.planned.record.digest,
            "node": self._node,
        }
        # What a publisher wrote must not become an illegal header, which would fail every call.
        return " ".join(f"{key}={quote(str(value), safe=':/')}" for key, value in facts.items())
