"""The error tree of the serving node.

    HeadraceError
    ├── RequestError            the caller can act on it; becomes the answer
    │   ├── InvalidRequest          INVALID_ARGUMENT
    │   │   ├── UnreadableRequest       … the bytes are not a request at all (a dead letter)
    │   │   └── ClaimRefused            … the payload lies where this node does not fetch
    │   ├── PayloadMissing          NOT_FOUND
    │   ├── PayloadUnreachable      UNAVAILABLE, retriable
    │   ├── PayloadCorrupt          DATA_LOSS
    │   ├── PayloadTooLarge         RESOURCE_EXHAUSTED
    │   ├── ServableNotFound        NOT_FOUND
    │   ├── ServableNotReady        UNAVAILABLE, retriable
    │   ├── PlanNotReached          UNAVAILABLE, retriable
    │   ├── AliasLoop               FAILED_PRECONDITION
    │   ├── UnknownLabel            INVALID_ARGUMENT
    │   ├── UnknownSignature        FAILED_PRECONDITION
    │   ├── MethodNotServed         UNIMPLEMENTED
    │   ├── QueueFull               RESOURCE_EXHAUSTED, retriable
    │   ├── NodeBusy                RESOURCE_EXHAUSTED, retriable
    │   ├── DeadlineExceeded        DEADLINE_EXCEEDED
    │   ├── WorkerDied              UNAVAILABLE, retriable
    │   ├── RegistryUnavailable     UNAVAILABLE, retriable
    │   ├── ModelFailed             INTERNAL
    │   ├── ModelControlOff         PERMISSION_DENIED
    │   ├── ChangeConflict          FAILED_PRECONDITION
    │   ├── ChangeNotWritten        UNAVAILABLE, retriable
    │   └── ModelsUnavailable       UNKNOWN
    ├── LoadError               becomes the state of one version, never stops the node
    │   ├── ArtifactMissing         NOT_FOUND, retriable (a store may lag behind the log)
    │   ├── ArtifactCorrupt         DATA_LOSS
    │   ├── CacheUnwritable         RESOURCE_EXHAUSTED, retriable
    │   ├── ModelRejected           FAILED_PRECONDITION
    │   ├── LoadCrashed             UNAVAILABLE, retriable
    │   └── LoadTimedOut            DEADLINE_EXCEEDED, retriable
    ├── ReplayRefused           a replay that cannot be: FAILED_PRECONDITION
    └── NodeError               fatal: the node exits with a code other than 0

What is wrong with encoded bytes is `headrace.schemas.errors.WireError`. Our own mistakes are
RuntimeErrors outside this tree.
"""

from __future__ import annotations

from typing import ClassVar

from headrace.consumer.core.codes import Code


class HeadraceError(Exception):
    """An error that a user can meet. `str()` is one sentence fit to be shown."""

    code: ClassVar[Code] = Code.INTERNAL
    retriable: ClassVar[bool] = False


class RequestError(HeadraceError):
    """A request that gets an error for an answer."""


class InvalidRequest(RequestError):
    """The request does not fit the signature that it names."""

    code = Code.INVALID_ARGUMENT


class UnreadableRequest(InvalidRequest):
    """The bytes do not decode to a request; asking again cannot help."""


class ClaimRefused(InvalidRequest):
    """The request is a claim on a payload that lies where this node does not fetch."""


class PayloadMissing(RequestError):
    """The payload that a request claims is not in its store."""

    code = Code.NOT_FOUND


class PayloadUnreachable(RequestError):
    """The store of a payload cannot be read now."""

    code = Code.UNAVAILABLE
    retriable = True


class PayloadCorrupt(RequestError):
    """The payload is not the one that the request claims."""

    code = Code.DATA_LOSS


class PayloadTooLarge(RequestError):
    """The payload is larger than this node fetches."""

    code = Code.RESOURCE_EXHAUSTED


class ServableNotFound(RequestError):
    """No such model or version is wanted here."""

    code = Code.NOT_FOUND


class ServableNotReady(RequestError):
    """The version is wanted, and not AVAILABLE yet."""

    code = Code.UNAVAILABLE
    retriable = True


class PlanNotReached(RequestError):
    """The control record that the request waits for is not in force here, and its time is up."""

    code = Code.UNAVAILABLE
    retriable = True


class AliasLoop(RequestError):
    """The arms of traffic splits lead back to where they began."""

    code = Code.FAILED_PRECONDITION


class UnknownLabel(RequestError):
    """The model's configuration has no such label."""

    code = Code.INVALID_ARGUMENT


class UnknownSignature(RequestError):
    """The model has no such signature."""

    code = Code.FAILED_PRECONDITION


class MethodNotServed(RequestError):
    """What is to be done is nothing that is served here."""

    code = Code.UNIMPLEMENTED


class QueueFull(RequestError):
    """The version's queue is at its bound; nothing was queued.

    `retry_after_seconds` is how long to stay away, as far as that can be told.
    """

    code = Code.RESOURCE_EXHAUSTED
    retriable = True

    def __init__(self, message: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class NodeBusy(RequestError):
    """The door holds as many calls, or as many of their bytes, as it may; nothing was read.

    `retry_after_seconds` is how long to stay away, as far as that can be told.
    """

    code = Code.RESOURCE_EXHAUSTED
    retriable = True

    def __init__(self, message: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class DeadlineExceeded(RequestError):
    """The deadline passed before the answer was there."""

    code = Code.DEADLINE_EXCEEDED


class WorkerDied(RequestError):
    """The worker process ended while it had the request, twice."""

    code = Code.UNAVAILABLE
    retriable = True


class RegistryUnavailable(RequestError):
    """The schema registry that must explain the request's bytes gave no usable answer."""

    code = Code.UNAVAILABLE
    retriable = True


class ModelFailed(RequestError):
    """The model itself raised; the text is the model's."""

    code = Code.INTERNAL


class ModelControlOff(RequestError):
    """The node takes no orders which models to serve."""

    code = Code.PERMISSION_DENIED


class ChangeConflict(RequestError):
    """A change of what is served that contradicts what the log says or what serves here."""

    code = Code.FAILED_PRECONDITION


class ChangeNotWritten(RequestError):
    """A change of what is served did not, or not surely, get into the log."""

    code = Code.UNAVAILABLE
    retriable = True


class ModelsUnavailable(RequestError):
    """The change is in the log, and this node cannot serve all that it asks for."""

    code = Code.UNKNOWN


class LoadError(HeadraceError):
    """A version that cannot be loaded."""


class ArtifactMissing(LoadError):
    """The artefact is not where the event says it is."""

    code = Code.NOT_FOUND
    retriable = True


class ArtifactCorrupt(LoadError):
    """The artefact is not what the event says it is."""

    code = Code.DATA_LOSS


class CacheUnwritable(LoadError):
    """The node's own disk has no room for the artefact, or refuses it."""

    code = Code.RESOURCE_EXHAUSTED
    retriable = True


class ModelRejected(LoadError):
    """The platform refused the model."""

    code = Code.FAILED_PRECONDITION


class LoadCrashed(LoadError):
    """The worker process ended while it loaded, or kept ending while it served."""

    code = Code.UNAVAILABLE
    retriable = True


class LoadTimedOut(LoadError):
    """The load took longer than it may."""

    code = Code.DEADLINE_EXCEEDED
    retriable = True


class ReplayRefused(HeadraceError):
    """A replay of past requests that cannot be, for a reason that its caller can cure."""

    code = Code.FAILED_PRECONDITION


class NodeError(HeadraceError):
    """The node cannot go on."""

    code = Code.FAILED_PRECONDITION
