"""A model on its way to become a version: the event that it would be, as the log stands."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from headrace.publisher.artifact import Artifact
from headrace.publisher.interface import bounded
from headrace.publisher.known import Known
from headrace.publisher.validation import Checks
from headrace.schemas.records import ModelVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What is to be published, and under which number if one is wished for.

    **Concurrency:** immutable.
    """

    model: str
    version: int | None
    artifact: Artifact
    checks: Checks
    publisher: str
    metadata: Mapping[str, str]

    def event(self, known: Known, uri: str = "") -> ModelVersion:
        """Return the event for a log that says this; without a URI, to see whether it may be.

        Raises:
            VersionConflict: the number is taken by other bytes.
            Incompatible: callers of the version that is serving may fail with it.
        """
        artifact = self.artifact
        digest = artifact.manifest.digest
        record = ModelVersion(
            model=self.model,
            version=known.number(self.model, self.version, digest),
            platform=artifact.platform,
            uri=uri,
            digest=digest,
            size_bytes=artifact.manifest.size_bytes,
            signatures=artifact.signatures,
            publisher=self.publisher,
            created_at_ms=time.time_ns() // 1_000_000,
            metadata=dict(self.metadata),
            interface=bounded(artifact.interface),
        )
        versions, config = known.versions.get(self.model, {}), known.configs.get(self.model)
        return self.checks.judge(record, artifact.interface, versions, config)
