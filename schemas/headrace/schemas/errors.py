"""What can be wrong with bytes that claim to be one of our records.

WireError
├── UnknownFingerprint   the writer's schema is not one we know
├── Undecodable          the bytes do not fit the schema they claim
├── EventRefused         a control event that the reader must not believe
└── TooLarge             more bytes than the reader accepts
"""

from enum import StrEnum


class WireError(ValueError):
    """A record or message that cannot be read; the text says what was found and expected."""


class UnknownFingerprint(WireError):
    """The single-object header names a writer schema that is not in the registry."""


class Undecodable(WireError):
    """The bytes do not follow the schema that they claim to follow, or carry bytes too many."""


class TooLarge(WireError):
    """The encoded record is larger than the limit that the reader was given."""


class Unencodable(WireError):
    """A field of the record holds a value that its schema cannot carry."""


class SchemaRefused(WireError):
    """A schema that cannot be registered: not Avro, recursive, or a bomb for its readers."""


class Distrust(StrEnum):
    """Why a control event is not believed."""

    UNSIGNED = "unsigned"
    UNKNOWN_KEY = "unknown_key"
    FOREIGN_MODEL = "foreign_model"
    ALTERED = "altered"
    UNTIMED = "untimed"
    STALE = "stale"
    REPLAYED = "replayed"
    UNVALIDATED = "unvalidated"


class EventRefused(WireError):
    """A control event that the reader must not believe, whatever it says; it changes nothing."""

    def __init__(self, reason: Distrust, message: str) -> None:
        super().__init__(message)
        self.reason = reason
