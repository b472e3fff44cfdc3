"""The REST API as `docs/openapi.yaml` describes it: a seam to what is half untyped."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final, Protocol

from hypothesis import strategies as st

_LIBRARY: Final[Any] = importlib.import_module("schemathesis")
_CHECKS: Final[Any] = importlib.import_module("schemathesis.specs.openapi.checks")
_DESCRIPTION: Final = Path(__file__).parents[2] / "docs/openapi.yaml"

CHECKS: Final[list[object]] = [
    _CHECKS.status_code_conformance,
    _CHECKS.content_type_conformance,
    _CHECKS.response_schema_conformance,
]


class Response(Protocol):
    """What came back."""

    content: bytes


class Case(Protocol):
    """One request."""

    path_parameters: dict[str, object]
    headers: dict[str, str]

    def call(self, *, base_url: str, timeout: float) -> Response:
        """Send it."""
        ...

    def validate_response(self, response: Response, *, checks: list[object]) -> None:
        """Fail unless the response is one that is described."""
        ...


def _operations() -> dict[str, Any]:
    description = _LIBRARY.openapi.from_path(_DESCRIPTION)
    found = [each.ok() for each in description.get_all_operations()]
    return {operation.label: operation for operation in found}


OPERATIONS: Final = _operations()


def cases(label: str) -> st.SearchStrategy[Case]:
    """Return requests that follow the description, and, where one can, such that do not."""
    operation = OPERATIONS[label]
    modes = _LIBRARY.GenerationMode
    good: st.SearchStrategy[Case] = operation.as_strategy(generation_mode=modes.POSITIVE)
    if operation.method == "get":
        return good
    bad: st.SearchStrategy[Case] = operation.as_strategy(generation_mode=modes.NEGATIVE)
    return good | bad
