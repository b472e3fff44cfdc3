"""The configuration that a wish makes of what the log says: checked, with its cohorts and its past.

Pure: what is to be written follows from the wish and the log alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from headrace.publisher.configuration import ConfigChange, check, check_number, policy_words
from headrace.publisher.errors import InvalidArgument, LogConflict
from headrace.publisher.known import Known
from headrace.publisher.references import check_references
from headrace.publisher.rollback import Step, state, timeline
from headrace.schemas.cohorts import allocate, runs, table
from headrace.schemas.records import ModelConfig, PolicyKind, VersionPolicy


def reconfigure(known: Known, wish: ModelConfig | ConfigChange) -> Step:
    """Return what a whole configuration, or a change to the one in the log, comes to.

    Raises:
        InvalidArgument: the result makes no sense, or points at what is not there.
    """
    before = known.configs.get(wish.model) or ModelConfig(model=wish.model)
    config = wish.apply(before) if isinstance(wish, ConfigChange) else wish
    check(config)
    check_references(config, known, before)
    known.check_shadow(config)
    # What nodes route by now, also where the log carries no cohorts yet.
    held = runs(table(before.split, before.cohorts))
    config = replace(config, cohorts=allocate(config.split, held))
    line = timeline(known, wish.model)
    after = state(config, known.published(wish.model))
    return Step(config=replace(config, previous=line.kept(after)), before=line.current, after=after)


def pin(known: Known, model: str, versions: Sequence[int] = ()) -> Step:
    """Return the configuration that serves these versions, or those that are wanted now, for good.

    Raises:
        InvalidArgument: one of them is not published.
        LogConflict: none is given, and none is wanted now.
    """
    for version in versions:
        check_number(version)
    chosen = tuple(dict.fromkeys(versions)) or timeline(known, model).current.versions
    if not chosen:
        raise LogConflict(
            f"model {model!r} serves no version that could be pinned: publish one, or name "
            f"published ones with 'headrace pin {model} VERSION'"
        )
    policy = VersionPolicy(kind=PolicyKind.SPECIFIC, versions=tuple(chosen))
    return reconfigure(known, ConfigChange(model=model, policy=policy))


def unpin(known: Known, model: str) -> Step:
    """Return the configuration with the last policy that was no pin, else with latest:1.

    Raises:
        InvalidArgument: the model is not pinned.
    """
    config = known.configs.get(model) or ModelConfig(model=model)
    if config.policy.kind is not PolicyKind.SPECIFIC:
        raise InvalidArgument(
            f"model {model!r} is not pinned: its policy is {policy_words(config.policy)}"
        )
    earlier = (one.policy for one in reversed(config.previous))
    policy = next((one for one in earlier if one.kind is not PolicyKind.SPECIFIC), VersionPolicy())
    return reconfigure(known, ConfigChange(model=model, policy=policy))
