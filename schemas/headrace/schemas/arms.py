"""What an arm of a traffic split, or the target of a shadow, stands for: a route, as text."""

from __future__ import annotations

from collections.abc import Container

from headrace.schemas.records import MAX_VERSION, MODEL_NAME, Route


def route_of_arm(text: str, model: str, labels: Container[str]) -> Route:
    """Return the route that an arm of `model` stands for.

    An arm is written as a label or a version of the model itself, as the name of another model,
    or as MODEL@LABEL or MODEL@VERSION. A label comes before a model of the same name.

    Args:
        text: the arm.
        model: whose arm it is.
        labels: the labels of that model.

    Raises:
        ValueError: it is none of these, in words.
    """
    other, separator, rest = text.partition("@")
    if not separator:
        if text in labels:
            return Route(model, None, text)
        if _is_version(text):
            return Route(model, int(text))
        _check_model(text, text)
        return Route(text)
    _check_model(other, text)
    if _is_version(rest):
        return Route(other, int(rest))
    if not rest:
        raise ValueError(f"arm {text!r:.200} names nothing behind '@': write MODEL@LABEL")
    return Route(other, None, rest)


def _is_version(text: str) -> bool:
    is_number = text.isascii() and text.isdecimal() and len(text) <= 19 and not text.startswith("0")
    return is_number and int(text) <= MAX_VERSION


def _check_model(name: str, arm: str) -> None:
    if MODEL_NAME.fullmatch(name) is None:
        raise ValueError(
            f"arm {arm!r:.200} is neither a label nor a version, nor can it be a model: write a "
            "label, a version, a model, MODEL@LABEL or MODEL@VERSION"
        )
