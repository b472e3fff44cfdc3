"""What publishing, watching and asking over Kafka can fail with.

PublisherError
├── InvalidArgument      a name, number or setting that cannot be (also a ValueError)
│   ├── InvalidModel     the path does not hold a model that a node could load
│   ├── InvalidSecurity  Kafka security settings that contradict each other or cannot be used
│   └── InvalidKey       a signing key, or a list of trusted keys, that cannot be used
├── NotTrusted           the fleet would refuse the event, or has: it is not signed as it must be
├── BrokerUnreachable    no Kafka broker answered within the time given
├── BrokerRefused        a broker answered, and the answer was no
├── TopicMismatch        a topic is missing, or exists in a shape that Headrace cannot use
├── OutcomeUnknown       sent, but not confirmed in time: it may or may not be in the log
├── StoreError           the artefact or claim store cannot be written or read
├── LogConflict          the control log already says something else
│   ├── VersionConflict  the version number is taken by other bytes
│   ├── UnknownVersion   there is no such version to retire or forget
│   ├── StillPublished   the version is published, so its record is not forgotten
│   ├── StillUsed        a label, a policy or a split names the version, so it is not retired
│   └── NothingBefore    there is nothing that a rollback could go back to
├── ValidationError      a version that was checked before it was published, and refused
│   ├── Incompatible     callers of the version that is serving may fail with it
│   ├── ExamplesFailed   it did not answer its examples as it should
│   └── ExamplesNotRun   its examples cannot be run on this machine
├── UnknownLetter        there is no such dead letter, or not enough of it is left
├── NotServed            the event is in the log, and the fleet will not serve the version
│   ├── RefusedByNode    a node tried and failed
│   └── NotWanted        a node applied the event, and its policy does not want the version
├── WaitTimeout          the fleet had not settled when the time was up
└── InferenceFailed      a request was answered with an error, or not at all

Every message says what was wrong, what was expected and what to do, in one line.
"""

from __future__ import annotations

from collections.abc import Sequence


class PublisherError(Exception):
    """The root of everything that this portion raises on purpose."""


class InvalidArgument(PublisherError, ValueError):
    """A name, number or setting that can never be right, whatever the broker says."""


class InvalidModel(InvalidArgument):
    """The path does not hold a model that a node could load."""


class InvalidSecurity(InvalidArgument):
    """Kafka security settings that contradict each other, or name what cannot be used."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Kafka security settings (HEADRACE_KAFKA_…): {reason}")


class InvalidKey(InvalidArgument):
    """A signing key, or a list of trusted keys, that cannot be used."""


class NotTrusted(PublisherError):
    """The fleet would refuse the event, or has: it is not signed as it must be."""


class BrokerUnreachable(PublisherError):
    """No broker answered within the time given."""


class BrokerRefused(PublisherError):
    """A broker answered with an error that trying again does not cure."""


class TopicMismatch(PublisherError):
    """A topic is missing, or exists in a shape that Headrace cannot use."""


class OutcomeUnknown(PublisherError):
    """A record was handed to the broker and not confirmed in time.

    It may still arrive. Doing the same again is safe: the log's fold takes an event once, and a
    letter that was replayed is marked as such.
    """


class StoreError(PublisherError):
    """The artefact store, or the store of large requests, cannot be written or read."""


class LogConflict(PublisherError):
    """The control log already says something that contradicts the wish."""


class VersionConflict(LogConflict):
    """The version number is taken by a model with other bytes."""


class UnknownVersion(LogConflict):
    """The control log holds no such version."""


class StillPublished(LogConflict):
    """The record of a published version is not forgotten without force."""


class StillUsed(LogConflict):
    """A version that a label, a policy or a split names is not retired without force."""


class NothingBefore(LogConflict):
    """The log knows nothing that was served before and could be served again."""


class ValidationError(PublisherError):
    """A version was checked before it was published, and refused: nothing was written.

    `faults` say one by one what was wrong.
    """

    def __init__(self, message: str, faults: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)


class Incompatible(ValidationError):
    """Callers of the version that is serving may fail with the new one."""


class ExamplesFailed(ValidationError):
    """The version did not load, did not answer in time, or answered otherwise than expected."""


class ExamplesNotRun(ValidationError):
    """The examples cannot be run on this machine, so that nothing is known of the version."""


class UnknownLetter(PublisherError):
    """There is no such dead letter, or not enough of it is left to be replayed."""


class NotServed(PublisherError):
    """The event is in the log, and the fleet will not serve the version."""


class RefusedByNode(NotServed):
    """A node tried to load the version and failed; `node` and `reason` say who and why."""

    def __init__(self, node: str, reason: str, message: str) -> None:
        super().__init__(message)
        self.node = node
        self.reason = reason


class NotWanted(NotServed):
    """A node applied the event, and its version policy does not want the version."""

    def __init__(self, node: str, message: str) -> None:
        super().__init__(message)
        self.node = node


class WaitTimeout(PublisherError):
    """The fleet had not settled when the time was up; the message names what is missing."""


class InferenceFailed(PublisherError):
    """A request was answered with an error, or not answered in time.

    `code` is a gRPC status name (`NOT_FOUND`, `DEADLINE_EXCEEDED`), `reason` the node's sentence.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
