"""What is checked of a version before it is published, and what the event says of it.

Two checks: whether callers of what is serving can call it, and whether it answers its examples as
it should. Each is a module of its own; this one says when they are made and remembers the result.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from headrace.publisher.artifact import Artifact
from headrace.publisher.compatibility import breaks
from headrace.publisher.errors import Incompatible, InvalidArgument
from headrace.publisher.examples import check_tolerances, read_examples
from headrace.publisher.progress import OnProgress, Tried
from headrace.publisher.trial import run_trial
from headrace.schemas.records import (
    Lifecycle,
    ModelConfig,
    ModelVersion,
    SignatureSpec,
    Tolerance,
    Validation,
)
from headrace.schemas.trial import Example, Trial
from headrace.schemas.wanted import wanted

_SHOWN_FAULTS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """What a publication is to be checked for. **Concurrency:** immutable."""

    examples: tuple[Example, ...] = ()
    tolerances: Mapping[str, Tolerance] = field(default_factory=dict[str, Tolerance])
    allow_incompatible: bool = False
    timeout_seconds: float = 300.0

    @classmethod
    async def of(
        cls,
        examples: str | os.PathLike[str] | None,
        tolerances: Mapping[str, Tolerance] | None,
        timeout_seconds: float,
        *,
        allow_incompatible: bool,
    ) -> Checks:
        """Read the examples.

        Raises:
            InvalidArgument: they cannot be read, or there is something that cannot be.
        """
        if tolerances and examples is None:
            raise InvalidArgument("tolerances are for examples: give some, or leave them out")
        check_tolerances(tolerances or {})
        if timeout_seconds <= 0:
            raise InvalidArgument(f"a validation timeout of {timeout_seconds} s is none")
        return cls(
            examples=() if examples is None else await asyncio.to_thread(read_examples, examples),
            tolerances=tolerances or {},
            allow_incompatible=allow_incompatible,
            timeout_seconds=timeout_seconds,
        )

    async def run(self, model: str, artifact: Artifact, on_progress: OnProgress) -> None:
        """Have the version answer its examples.

        Raises:
            ExamplesFailed, ExamplesNotRun: as in `trial.run_trial`.
        """
        if not self.examples:
            return
        trial = Trial(
            model=model,
            platform=artifact.platform,
            path=str(artifact.folder),
            examples=self.examples,
            tolerances=self.tolerances,
        )
        total = len(self.examples)
        await run_trial(
            trial,
            self.timeout_seconds,
            lambda done: on_progress(Tried(done_examples=done, total_examples=total)),
        )

    def judge(
        self,
        record: ModelVersion,
        interface: Sequence[SignatureSpec],
        versions: Mapping[int, ModelVersion],
        config: ModelConfig | None,
    ) -> ModelVersion:
        """Return the version's record with what is known of it: from these checks, and from before.

        Args:
            record: what is to be published, under its number.
            interface: all of its signatures, also those that its record has no room for.
            versions: the versions of the model in the log.
            config: how the model is served.

        Raises:
            Incompatible: callers of the version that is serving may fail with it.
        """
        serving = _serving(record, versions, config) if interface else None
        found = breaks(serving.interface, interface) if serving else []
        if found and serving and not self.allow_incompatible:
            raise Incompatible(_words(record, serving, found), found)
        now = Validation(
            examples=len(self.examples),
            compared_with=serving.version if serving else None,
            is_compatible=not found,
        )
        return replace(record, validation=_completed(now, record, versions))


def _serving(
    record: ModelVersion, versions: Mapping[int, ModelVersion], config: ModelConfig | None
) -> ModelVersion | None:
    """Return the highest other version that the log wants served and tells the interface of."""
    published = [n for n, each in versions.items() if each.lifecycle is Lifecycle.PUBLISHED]
    numbers = wanted(config or ModelConfig(model=record.model), published) - {record.version}
    known = [number for number in numbers if versions[number].interface]
    return versions[max(known)] if known else None


def _completed(
    now: Validation, record: ModelVersion, versions: Mapping[int, ModelVersion]
) -> Validation | None:
    """Return what is known of a version with what the log knows of the same bytes already."""
    bytes_of = (record.digest, record.platform)
    before = {
        number: each.validation
        for number, each in versions.items()
        if each.validation and (each.digest, each.platform) == bytes_of
    }
    if now.compared_with is None and record.version in before:
        now = replace(before[record.version], examples=now.examples)
    if not now.examples:
        # Under whatever number: what they answer is the same.
        passed = max((each.examples for each in before.values()), default=0)
        now = replace(now, examples=passed)
    return now if now.examples or now.compared_with is not None else None


def _words(record: ModelVersion, serving: ModelVersion, found: Sequence[str]) -> str:
    more = len(found) - _SHOWN_FAULTS
    return (
        f"version {record.version} of {record.model!r} does not fit those who call version "
        f"{serving.version}, which is serving: {'; '.join(found[:_SHOWN_FAULTS])}"
        f"{f'; and {more} more' if more > 0 else ''}: nothing was published; publish it as another "
        "model, or all the same with --allow-incompatible (allow_incompatible=True)"
    )
