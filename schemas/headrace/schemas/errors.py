"""What can be wrong with bytes that claim to be one of our records.

WireError
├── UnknownFingerprint   the writer's schema is not one we know
├── Undecodable          the bytes do not fit the schema they claim
└── TooLarge             more bytes than the reader accepts
"""


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
