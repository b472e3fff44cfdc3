"""The node's settings of whose events it believes, and what it takes from artefact stores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from headrace.publisher.event_security import EventSecurity


class SecuritySettings(BaseModel):
    """Trusted keys, the node's own key, validation, and a bound for artefacts."""

    trusted_keys: Path | None = Field(
        None,
        description="TOML file of the keys whose signed events count, each with its models; needs "
        "headrace[signing] (default: every event counts)",
    )
    signing_key: Path | None = Field(
        None,
        description="PEM file of the key that signs what clients of the doors ask for; with "
        "trusted keys and without one, the node takes no such orders",
    )
    require_validation: bool = Field(
        False,
        description="serve only versions that answered their example requests before they were "
        "published",
    )
    max_artifact_bytes: Annotated[int, Field(gt=0)] = Field(
        64 * 2**30, description="largest artefact that is fetched"
    )

    @property
    def event_security(self) -> EventSecurity:
        """Whose events the node believes, and how it signs its own.

        Raises:
            InvalidKey: a file cannot be used, or the node's own key is not trusted.
        """
        return EventSecurity.of_files(
            self.signing_key, self.trusted_keys, requires_validation=self.require_validation
        )
