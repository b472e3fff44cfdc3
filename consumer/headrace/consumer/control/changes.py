"""What to write to the control log so that exactly the wished models are served.

Pure: made of the wishes, the bytes that lie in their folders, the plan, and what serves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from headrace.consumer.core.errors import ChangeConflict, InvalidRequest
from headrace.consumer.core.plan import Plan, PlannedModel
from headrace.consumer.core.repository import ModelWish
from headrace.publisher import configuration
from headrace.publisher.known import Known
from headrace.publisher.references import check_lost_labels
from headrace.schemas.records import Lifecycle, ModelConfig, PolicyKind, VersionPolicy

PLATFORMS: Final = ("tensorflow",)
"""What a version folder may hold, as far as publishing knows."""


class Offer(NamedTuple):
    """A version's folder on this machine, and the digest of what is in it."""

    folder: Path
    digest: str


class Publish(NamedTuple):
    """Publish what is in a folder."""

    model: str
    version: int
    folder: Path


class Republish(NamedTuple):
    """Write a version's last record once more, as published."""

    model: str
    version: int


class Retire(NamedTuple):
    """Take a version out of service."""

    model: str
    version: int


Change = Publish | Republish | Retire | ModelConfig
"""One event to write."""


def check(wishes: Sequence[ModelWish], plan: Plan) -> None:
    """Raise InvalidRequest or InvalidArgument unless the wishes make sense by themselves."""
    names = [wish.name for wish in wishes]
    for wish in wishes:
        if names.count(wish.name) > 1:
            raise InvalidRequest(
                f"Illegal to list model {wish.name} multiple times in config list: name it once"
            )
        if wish.platform not in PLATFORMS:
            raise InvalidRequest(
                f"model {wish.name} is to be of platform {wish.platform!r}, which cannot be loaded "
                f"from a folder: use {', '.join(PLATFORMS)}"
            )
        model = plan.models.get(wish.name) or PlannedModel(wish.name)
        for number in sorted(published(model)):
            platform = model.versions[number].record.platform
            if platform != wish.platform:
                raise InvalidRequest(
                    f"Illegal to change a model's platform. For model {wish.name} platform was "
                    f"{platform} and new platform requested is {wish.platform}: unload it first"
                )
        config = _config(wish, model, wish.policy.versions)
        configuration.check(config)
        check_lost_labels(config, model.config or config, _known(plan))


def pick(wish: ModelWish, numbers: Collection[int], plan: Plan) -> list[int]:
    """Return the version numbers among those of the folders that the wish's policy picks.

    Raises:
        InvalidRequest: there is none, and the log has none either.
    """
    found = sorted(numbers, reverse=True)
    if wish.policy.kind is PolicyKind.LATEST:
        found = found[: wish.policy.latest]
    elif wish.policy.kind is PolicyKind.SPECIFIC:
        found = [number for number in found if number in wish.policy.versions]
        known = plan.models.get(wish.name)
        if known and not published(known).isdisjoint(wish.policy.versions):
            return found
    if not found:
        raise InvalidRequest(
            f"No versions of servable {wish.name} that policy "
            f"{configuration.policy_words(wish.policy)} picks found under base path "
            f"{wish.base_path}: name a version's folder with its number (for example "
            f"{wish.base_path.rstrip('/')}/1)"
        )
    return found


def find_changes(
    wishes: Sequence[ModelWish],
    offered: Mapping[str, Mapping[int, Offer]],
    plan: Plan,
    serving: Mapping[str, AbstractSet[int]],
) -> list[Change]:
    """Return the events that make the log ask for the wishes and nothing else, in their order.

    Args:
        wishes: every model that is to be served; they have been checked.
        offered: for each of them, the versions that were picked.
        plan: what the log asks for now.
        serving: the versions of each model that are AVAILABLE here.

    Raises:
        VersionConflict: a number is taken by other bytes.
        InvalidArgument: a folder's number cannot be a version's.
        ChangeConflict: a label's version neither serves nor comes.
    """
    changes: list[Change] = []
    for wish in wishes:
        model = plan.models.get(wish.name) or PlannedModel(wish.name)
        changes += _of_model(wish, offered[wish.name], model, serving.get(wish.name, frozenset()))
    for name in sorted(plan.models.keys() - {wish.name for wish in wishes}):
        changes += retire_all(plan.models[name])
    return changes


def retire_all(model: PlannedModel) -> list[Change]:
    """Return the events that retire a model: the highest goes last, lest LATEST load the others."""
    return [Retire(model.name, number) for number in sorted(published(model))]


def _of_model(
    wish: ModelWish,
    coming: Mapping[int, Offer],
    model: PlannedModel,
    serving: AbstractSet[int],
) -> list[Change]:
    """Return the events for one model, in an order in which no policy ever wants nothing.

    The highest version comes first, lest LATEST load those on the way.
    """
    there = published(model)
    fresh = _missing(model, coming, there)
    _check_labels(wish, coming.keys() | (there & serving))
    before = model.config or ModelConfig(model=wish.name)
    after = _config(wish, model, there | coming.keys())
    surplus = _surplus(after, coming.keys(), there)
    publish = [Publish(wish.name, number, coming[number].folder) for number in fresh]
    configure = [after] if after != before else []
    retire = [Retire(wish.name, number) for number in surplus]
    rest = (there | coming.keys()) - set(surplus)
    if before.policy.kind is PolicyKind.SPECIFIC and rest.isdisjoint(before.policy.versions):
        return [*publish, *configure, *retire]
    return [*publish, *retire, *configure]


def published(model: PlannedModel) -> frozenset[int]:
    """Return the numbers of a model's published versions."""
    return frozenset(
        number
        for number, version in model.versions.items()
        if version.record.lifecycle is Lifecycle.PUBLISHED
    )


def _missing(model: PlannedModel, coming: Mapping[int, Offer], there: Collection[int]) -> list[int]:
    """Return the numbers that are to be published, the highest first."""
    known = _known(Plan(models={model.name: model}))
    for number in coming:
        configuration.check_number(number, f"model {model.name!r}: ")
        known.number(model.name, number, coming[number].digest)
    return [number for number in sorted(coming, reverse=True) if number not in there]


def _check_labels(wish: ModelWish, usable: Collection[int]) -> None:
    for label, number in wish.labels.items():
        if number not in usable:
            raise ChangeConflict(
                f"Request to assign label {label!r} to version {number} of model {wish.name}, "
                "which is not currently available for inference and does not come with this "
                "request: load the version first"
            )


def _config(wish: ModelWish, model: PlannedModel, usable: Collection[int]) -> ModelConfig:
    """Return the model's configuration with the wished policy and labels.

    As in TensorFlow Serving, a policy may name versions that are not there; here it is written
    without them.
    """
    config = model.config or ModelConfig(model=wish.name)
    versions = tuple(number for number in wish.policy.versions if number in usable)
    policy = replace(wish.policy, versions=versions)
    policy = config.policy if _means(config.policy) == _means(policy) else policy
    return replace(config, policy=policy, labels=dict(wish.labels))


def _known(plan: Plan) -> Known:
    """Return what the log says, for the checks of the publisher."""
    versions = {
        name: {number: version.record for number, version in model.versions.items()}
        for name, model in plan.models.items()
    }
    configs = {name: model.config for name, model in plan.models.items() if model.config}
    return Known(versions=versions, configs=configs, next_offset=plan.offset + 1)


def _means(policy: VersionPolicy) -> tuple[PolicyKind, frozenset[int]]:
    """Return what counts of a policy, to compare it by."""
    match policy.kind:
        case PolicyKind.LATEST:
            return policy.kind, frozenset({policy.latest})
        case PolicyKind.SPECIFIC:
            return policy.kind, frozenset(policy.versions)
        case PolicyKind.ALL:
            return policy.kind, frozenset()


def _surplus(config: ModelConfig, coming: AbstractSet[int], there: AbstractSet[int]) -> list[int]:
    """Return the published versions that the policy would want and the folders do not have."""
    rest = sorted(there - coming - set(config.labels.values()))
    if config.policy.kind is PolicyKind.SPECIFIC:
        return []
    if config.policy.kind is PolicyKind.ALL or len(coming) < config.policy.latest:
        return rest
    return [number for number in rest if number > min(coming)]
