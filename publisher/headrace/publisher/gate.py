"""What of the control log may be believed: a state machine over its records, in their order.

Pure: no I/O and no clock, so that every reader of the same log admits the same records. It judges
bytes, before anything is decoded; only `check_validated` looks at a decoded record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, Protocol

from headrace.publisher.signing import Seal, read_seal
from headrace.publisher.trusted_keys import TrustedKey, TrustedKeys
from headrace.schemas.errors import Distrust, EventRefused
from headrace.schemas.records import MODEL_NAME, Lifecycle, ModelConfig, ModelVersion

_NAME: Final = MODEL_NAME.pattern.encode()
_KEY: Final = re.compile(rb"version/(%b)/[1-9][0-9]{0,18}|model/(%b)" % (_NAME, _NAME))
# What brokers call their own clock in a record (message.timestamp.type=LogAppendTime).
LOG_APPEND_TIME: Final = 1


class LoggedRecord(Protocol):
    """A record of the control topic, as consumers hand it out."""

    @property
    def key(self) -> bytes | None:
        """What the record is about."""
        ...

    @property
    def value(self) -> bytes | None:
        """What it says; None is a tombstone."""
        ...

    @property
    def headers(self) -> Iterable[tuple[str, bytes | None]]:
        """Its headers, in which a signature may be."""
        ...

    @property
    def timestamp(self) -> int:
        """Epoch milliseconds."""
        ...

    @property
    def timestamp_type(self) -> int:
        """Whose clock that was: 1 is the broker's."""
        ...


def model_of(key: bytes | None) -> str | None:
    """Return the model that a control key is about, None when it is no control key."""
    match = None if key is None else _KEY.fullmatch(key)
    return (match[1] or match[2]).decode() if match else None


class Gate:
    """Admits the records of a log one after the other, or refuses them.

    With trusted keys a record passes when one of them has signed it for its model, in time, and
    with a generation above those of the model's records before it. Without, every record passes,
    and `highest` believes what the records say.

    **Concurrency:** one reader of one log, from its beginning; `reset` before it is read again.
    """

    def __init__(self, trusted: TrustedKeys | None = None) -> None:
        """Begin before the log's first record."""
        self.trusted = trusted
        self._highest: dict[str, int] = {}

    def reset(self) -> None:
        """Forget all records: the log begins anew."""
        self._highest.clear()

    def highest(self, model: str) -> int:
        """Return the highest generation of the model so far, 0 before the first."""
        return self._highest.get(model, 0)

    def highest_generations(self) -> dict[str, int]:
        """Return the highest generation of each model."""
        return dict(self._highest)

    def admit(self, record: LoggedRecord) -> tuple[Seal, TrustedKey | None] | None:
        """Take the log's next record, and return who has signed it, if anybody has.

        A key that names no model passes: it cannot change anything, and readers skip it.

        Raises:
            EventRefused: it must not be believed, in words.
        """
        model = model_of(record.key)
        if record.key is None or model is None:
            return None
        if self.trusted is None:
            return self._believe(model, record)
        seal, signer = self._verify(self.trusted, model, record.key, record)
        self._check_time(record, seal, signer)
        if seal.generation <= self.highest(model):
            raise EventRefused(
                Distrust.REPLAYED,
                f"generation {seal.generation} of model {model!r}, signed by key {signer}, comes "
                f"after generation {self.highest(model)}: an old event was written again, or two "
                "publishers wrote at once; what is meant now must be published now",
            )
        self._highest[model] = seal.generation
        return seal, signer

    def _believe(self, model: str, record: LoggedRecord) -> tuple[Seal, None] | None:
        """Count what a record claims; nobody is trusted, so nothing is refused."""
        try:
            seal = read_seal(record.headers)
        except ValueError:
            return None
        if seal is None:
            return None
        self._highest[model] = max(self.highest(model), seal.generation)
        return seal, None

    def _verify(
        self, trusted: TrustedKeys, model: str, key: bytes, record: LoggedRecord
    ) -> tuple[Seal, TrustedKey]:
        """Return the seal once the signature is known to be that of a key for this model."""
        shown = ascii(key.decode())
        try:
            seal = read_seal(record.headers)
        except ValueError as error:
            raise EventRefused(
                Distrust.ALTERED, f"the signature of {shown} cannot be read: {error}: publish again"
            ) from error
        if seal is None:
            raise EventRefused(
                Distrust.UNSIGNED,
                f"{shown} is not signed, and only signed events count here: publish it with a "
                "signing key (--signing-key, HEADRACE_SIGNING_KEY)",
            )
        signer = trusted.find(seal.key_id)
        if signer is None:
            raise EventRefused(
                Distrust.UNKNOWN_KEY,
                f"{shown} says it is signed by key {seal.key_id}, which is not trusted (trusted: "
                f"{trusted}): sign with one that is, or add the key to the trusted ones",
            )
        if not signer.may_sign_for(model):
            raise EventRefused(
                Distrust.FOREIGN_MODEL,
                f"key {signer} may sign for models {', '.join(signer.models)}, and not for "
                f"{model!r}: sign {shown} with a key for it, or give this one the model",
            )
        if not signer.has_signed(seal, key, record.value):
            raise EventRefused(
                Distrust.ALTERED,
                f"key {signer} has not signed what {shown} says now: the record was forged, "
                "altered, truncated or moved; publish it again",
            )
        return seal, signer

    def _check_time(self, record: LoggedRecord, seal: Seal, signer: TrustedKey) -> None:
        if record.timestamp_type != LOG_APPEND_TIME:
            # The time would be the writer's word, and an old event could be written again for ever.
            raise EventRefused(
                Distrust.UNTIMED,
                "the topic keeps the time of its writers, which proves nothing of a signed event: "
                "set message.timestamp.type=LogAppendTime on it, then publish again",
            )
        if record.timestamp > seal.not_after_ms:
            raise EventRefused(
                Distrust.STALE,
                f"key {signer} signed the event until {_iso(seal.not_after_ms)}, and it was "
                f"written at {_iso(record.timestamp)}: it was held back or written again; publish "
                "anew (and compare the publisher's clock with the broker's)",
            )


def is_validated(record: ModelVersion | ModelConfig | None) -> bool:
    """Return false for a version that is to be served and answered no example requests."""
    if not isinstance(record, ModelVersion) or record.lifecycle is not Lifecycle.PUBLISHED:
        return True
    return record.validation is not None and record.validation.examples > 0


def check_validated(record: ModelVersion | ModelConfig | None) -> None:
    """Raise EventRefused when a version is to be served that answered no example requests."""
    if isinstance(record, ModelVersion) and not is_validated(record):
        raise EventRefused(
            Distrust.UNVALIDATED,
            f"version {record.version} of {record.model!r} was not validated, and only validated "
            "versions are served here (--require-validation): publish it with examples",
        )


def _iso(epoch_ms: int) -> str:
    try:
        moment = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{epoch_ms} ms"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
