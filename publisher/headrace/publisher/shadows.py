"""The shadow of a configuration: how a change makes it, and the check that it makes sense."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from headrace.publisher.errors import InvalidArgument
from headrace.schemas.arms import route_of_arm
from headrace.schemas.records import ModelConfig, Route, Shadow, Tolerance


def changed(
    config: ModelConfig,
    target: str | None,
    fraction: float | None,
    tolerances: Mapping[str, Tolerance] | None,
) -> Shadow | None:
    """Return a configuration's shadow after a change; None leaves a part as it is.

    Args:
        config: the configuration before.
        target: what requests are mirrored to; empty ends it.
        fraction: the share of them.
        tolerances: by output, all of them.

    Raises:
        InvalidArgument: there is no shadow to change.
    """
    shadow = config.shadow
    if target is not None:
        shadow = replace(shadow, target=target) if shadow else Shadow(target=target)
    if shadow is not None and not shadow.target and target is not None:
        return None
    if fraction is None and tolerances is None:
        return shadow
    if shadow is None:
        raise InvalidArgument(
            f"model {config.model!r} has no shadow: name its target, with --shadow TARGET"
        )
    return replace(
        shadow,
        fraction=shadow.fraction if fraction is None else fraction,
        tolerances=shadow.tolerances if tolerances is None else dict(tolerances),
    )


def check_shadow(config: ModelConfig) -> None:
    """Raise InvalidArgument, in words, unless the shadow makes sense by itself."""
    shadow = config.shadow
    if shadow is None:
        return
    if shadow_route(config) == Route(config.model):
        raise InvalidArgument(
            f"shadow {shadow.target!r} is what it would mirror: name a label, a version, or "
            "another model"
        )
    if not 0 < shadow.fraction <= 1:
        raise InvalidArgument(
            f"shadow fraction {shadow.fraction:g} is not allowed: use above 0 and up to 1 (100 %)"
        )
    for output, tolerance in shadow.tolerances.items():
        for number in (tolerance.absolute, tolerance.relative):
            if not (math.isfinite(number) and number >= 0):
                raise InvalidArgument(
                    f"tolerance {number:g} of {output or 'every output'} is not allowed: use 0 or "
                    "more"
                )


def shadow_route(config: ModelConfig) -> Route | None:
    """Return what requests of a configuration are mirrored to.

    Raises:
        InvalidArgument: the target is no arm.
    """
    if config.shadow is None:
        return None
    try:
        return route_of_arm(config.shadow.target, config.model, config.labels)
    except ValueError as error:
        raise InvalidArgument(f"shadow: {error}") from error
