"""What an answer says of its origin, in headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote
from weakref import WeakKeyDictionary

from headrace.consumer.core.choice import Choice

HEADERS: Final = (
    "headrace-model",
    "headrace-version",
    "headrace-control-offset",
    "headrace-artifact-digest",
    "headrace-node",
    "headrace-plan-offset",
    "headrace-routed-by",
    "headrace-arm",
)


class Provenance:
    """The headers of answers, made once for all requests that are routed alike.

    **Concurrency:** event loop only.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self._known: WeakKeyDictionary[Choice, Mapping[str, str]] = WeakKeyDictionary()

    def of(self, choice: Choice) -> Mapping[str, str]:
        """Return the headers of every answer to requests that are routed like this."""
        known = self._known.get(choice)
        if known is None:
            facts = (
                choice.id.model,
                choice.id.version,
                choice.planned.control_offset,
                choice.planned.record.digest,
                self._node,
                choice.plan_offset,
                choice.reason,
                choice.arm,
            )
            # What a publisher wrote must not become an illegal header.
            values = [quote(str(fact), safe=":/@") for fact in facts]
            told = {name: value for name, value in zip(HEADERS, values, strict=True) if value}
            known = self._known[choice] = told
        return known
