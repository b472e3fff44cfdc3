"""One record of the control log, checked: the key and the value must tell the same story."""

from __future__ import annotations

import re
from typing import Final

from headrace.consumer.core.plan import ControlEvent
from headrace.schemas.codec import decode
from headrace.schemas.errors import Undecodable
from headrace.schemas.records import (
    MODEL_NAME,
    ModelConfig,
    ModelVersion,
    check_model_name,
    check_version,
    config_key,
    version_key,
)

MAX_RECORD_BYTES: Final = 2**20
_VERSION: Final = b"version/"
_CONFIG: Final = b"model/"
_NAME: Final = MODEL_NAME.pattern.encode()
_KEY: Final = re.compile(rb"version/(?:%b)/[1-9][0-9]{0,18}|model/(?:%b)" % (_NAME, _NAME))


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
