"""What a configuration points at must be there: versions, labels and other models.

Pure: made of the configuration and of what the control log says. A node needs none of this, since
it takes whatever the log holds; these checks tell people before the log is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from headrace.publisher.errors import InvalidArgument, StillUsed
from headrace.publisher.known import Known
from headrace.schemas.arms import route_of_arm
from headrace.schemas.records import ModelConfig, PolicyKind, Route


class Use(NamedTuple):
    """A version or a label of a model that some configuration names, and where."""

    words: str
    route: Route


def check_references(config: ModelConfig, known: Known, before: ModelConfig | None = None) -> None:
    """Raise InvalidArgument, in words, unless all that the configuration points at is there.

    Args:
        config: what is to be written.
        known: what the log says.
        before: what it replaces. What both say is not questioned again, so that a version which
            was retired meanwhile is no reason to refuse an unrelated change.
    """
    old = before or ModelConfig(model=config.model)
    if before is None or config.policy != old.policy:
        _check_policy(config, known)
    for label, version in config.labels.items():
        if before is None or old.labels.get(label) != version:
            _check_version(config.model, version, f"label {label!r}", known)
    if before is None or (config.labels, config.split) != (old.labels, old.split):
        check_lost_labels(config, old, known)
        for arm in config.split:
            check_arm(arm, config, known, f"split arm {arm!r}")
        _check_loops(config, known)


def check_arm(arm: str, config: ModelConfig, known: Known, what: str) -> Route:
    """Return what an arm of the configuration stands for.

    Args:
        arm: a label, version or model, as in `headrace.schemas.arms`.
        config: whose arm it is.
        known: what the log says.
        what: what the message calls it: `split arm 'x'`.

    Raises:
        InvalidArgument: it stands for nothing that is there, or for two things.
    """
    try:
        route = route_of_arm(arm, config.model, config.labels)
    except ValueError as error:
        raise InvalidArgument(str(error)) from error
    is_latest = route.version is None and route.label is None
    is_bare = "@" not in arm and route.model == config.model and not is_latest
    if is_bare and arm in {config.model, *known.versions, *known.configs}:
        meaning = "version" if route.label is None else "label"
        raise InvalidArgument(
            f"{what} is both a {meaning} of {config.model!r} and a model: write "
            f"'{config.model}@{arm}' for the {meaning}, or rename the label"
        )
    _check_route(route, config, known, what)
    return route


def check_lost_labels(config: ModelConfig, before: ModelConfig, known: Known) -> None:
    """Raise InvalidArgument if an arm uses a label that is taken away.

    The arm would stand for something else, or for nothing. Arms of the model itself are looked at
    as they will be, those of others as they are.
    """
    lost = {f"{config.model}@{label}" for label in before.labels.keys() - config.labels.keys()}
    for other in {**known.configs, config.model: config}.values() if lost else ():
        for arm in other.split:
            text = arm if "@" in arm or other.model != config.model else f"{config.model}@{arm}"
            if text in lost:
                raise InvalidArgument(
                    f"label {text.partition('@')[2]!r} is still arm {arm!r} of the split of "
                    f"{other.model!r}: change that split first with 'headrace config "
                    f"{other.model} --split …'"
                )


def check_unused(model: str, version: int, known: Known) -> None:
    """Raise StillUsed if a configuration names the version, whose retirement would break it."""
    found = [use.words for use in _uses(known, model) if use.route.version == version]
    if found:
        raise StillUsed(
            f"version {version} of {model!r} is in use by {' and by '.join(found)}: change that "
            "with 'headrace config' first, or retire it all the same with --force"
        )


def _uses(known: Known, model: str) -> Iterator[Use]:
    """Yield what the configurations in the log name of a model: their own, and what leads to it."""
    own = known.configs.get(model)
    if own is not None:
        for label, version in own.labels.items():
            yield Use(f"its label {label!r}", Route(model, version))
        if own.policy.kind is PolicyKind.SPECIFIC:
            yield from (Use("its policy", Route(model, v)) for v in own.policy.versions)
    for config in known.configs.values():
        for arm, route in _routes(config):
            if route.model == model:
                yield Use(f"arm {arm!r} of the split of {config.model!r}", route)


def _routes(config: ModelConfig) -> Iterator[tuple[str, Route]]:
    """Yield the arms that have a weight, with what they stand for."""
    for arm, weight in config.split.items():
        if weight > 0:
            try:
                yield arm, route_of_arm(arm, config.model, config.labels)
            except ValueError:
                continue  # Not written by a publisher of ours; it leads nowhere.


def _check_route(route: Route, config: ModelConfig, known: Known, what: str) -> None:
    """Refuse a route to a version, a label or a model that is not there."""
    is_own = route.model == config.model
    there = config if is_own else known.configs.get(route.model, ModelConfig(model=route.model))
    if route.version is not None:
        _check_version(route.model, route.version, what, known)
        if not is_own and route.version not in known.wanted(route.model):
            raise InvalidArgument(
                f"{what} means version {route.version} of {route.model!r}, which its policy does "
                f"not want: give it a label, or change the policy, with 'headrace config "
                f"{route.model}'"
            )
    elif route.label is not None:
        if route.label not in there.labels:
            raise InvalidArgument(
                f"{what} means a label that {route.model!r} does not have: its labels are "
                f"{', '.join(sorted(there.labels)) or 'none'}"
            )
    elif not known.published(route.model) and (is_own or not any(there.split.values())):
        raise InvalidArgument(
            f"{what} is neither a label of {config.model!r} (it has "
            f"{', '.join(sorted(config.labels)) or 'none'}), nor a version, nor a model that the "
            "control log serves: add the label with --label, or publish the model first"
        )


def _check_policy(config: ModelConfig, known: Known) -> None:
    if config.policy.kind is PolicyKind.SPECIFIC:
        for version in config.policy.versions:
            _check_version(config.model, version, "the policy", known)


def _check_version(model: str, version: int, what: str, known: Known) -> None:
    published = known.published(model)
    if version in published:
        return
    was = "retired" if version in known.versions.get(model, {}) else "never published"
    there = ", ".join(map(str, sorted(published))) or "none"
    raise InvalidArgument(
        f"{what} means version {version} of {model!r}, which was {was} (published: {there}): "
        f"publish it first with 'headrace publish {model} … --version {version}'"
    )


def _check_loops(config: ModelConfig, known: Known) -> None:
    """Refuse arms that lead from model to model back to where they were."""
    configs: Mapping[str, ModelConfig] = {**known.configs, config.model: config}

    def walk(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            raise InvalidArgument(
                f"the split of {config.model!r} leads in a circle "
                f"({' → '.join((*trail, name))}): give one of these splits another arm"
            )
        for _, route in _routes(configs.get(name, ModelConfig(model=name))):
            if route.version is None and route.label is None and route.model != name:
                walk(route.model, (*trail, name))

    walk(config.model, ())
