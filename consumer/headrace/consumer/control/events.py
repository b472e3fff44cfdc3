"""One record of the control log, checked: the key and the value must tell the same story."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import structlog

from headrace.consumer.core.plan import ControlEvent
from headrace.publisher.clients import Message, timed
from headrace.publisher.fleet import control_error
from headrace.publisher.gate import Gate, check_validated
from headrace.schemas.codec import decode
from headrace.schemas.errors import EventRefused, Undecodable, WireError
from headrace.schemas.records import (
    MODEL_NAME,
    ModelConfig,
    ModelVersion,
    check_model_name,
    check_version,
    config_key,
    version_key,
)

_LOG: Final = structlog.get_logger(__name__)
MAX_RECORD_BYTES: Final = 2**20
_VERSION: Final = b"version/"
_CONFIG: Final = b"model/"
_NAME: Final = MODEL_NAME.pattern.encode()
_KEY: Final = re.compile(rb"version/(?:%b)/[1-9][0-9]{0,18}|model/(?:%b)" % (_NAME, _NAME))


def read_events(
    messages: Iterable[Message], gate: Gate, *, requires_validation: bool
) -> tuple[list[ControlEvent], list[str]]:
    """Return the events of consecutive records, and in words what was skipped and why."""
    events: list[ControlEvent] = []
    skipped: list[str] = []
    for message in messages:
        try:
            # Before anything is decoded: what nobody trusted has written is not looked into.
            gate.admit(timed(message))
            event = read_event(message.offset, message.key, message.value)
            if requires_validation:
                check_validated(event.record)
        except EventRefused as error:
            _LOG.warning(
                "control_record.refused",
                offset=message.offset,
                reason=error.reason,
                error=str(error),
            )
            skipped.append(control_error(message.offset, f"refused: {error}"))
        except WireError as error:
            skipped.append(control_error(message.offset, str(error)))
            _LOG.warning("control_record.skipped", error=skipped[-1])
        else:
            events.append(event)
    return events, skipped


def read_event(offset: int, key: bytes | None, value: bytes | None) -> ControlEvent:
    """Return the event that a record of the control topic stands for.

    Raises:
        WireError: the record is none, in words; a fold must skip it.
    """
    if key is None:
        raise Undecodable("the record has no key")
    if value is None:
        if _KEY.fullmatch(key) is None:
            raise _stray(key)
        return ControlEvent(offset, key, None)
    if key.startswith(_VERSION):
        version = decode(value, ModelVersion, max_bytes=MAX_RECORD_BYTES)
        _check(version.model, version.version)
        _match(key, version_key(version.model, version.version))
        return ControlEvent(offset, key, version)
    if key.startswith(_CONFIG):
        config = decode(value, ModelConfig, max_bytes=MAX_RECORD_BYTES)
        _check(config.model)
        _match(key, config_key(config.model))
        return ControlEvent(offset, key, config)
    raise _stray(key)


def _check(model: str, version: int = 1) -> None:
    try:
        check_model_name(model)
        check_version(version)
    except ValueError as error:
        raise Undecodable(str(error)) from error


def _match(key: bytes, told: bytes) -> None:
    if key != told:
        raise Undecodable(f"the key is {_shown(key)} and the value belongs to {_shown(told)}")


def _stray(key: bytes) -> Undecodable:
    return Undecodable(f"key {_shown(key)} is neither version/<model>/<version> nor model/<model>")


def _shown(key: bytes) -> str:
    return ascii(key[:160].decode(errors="replace"))
