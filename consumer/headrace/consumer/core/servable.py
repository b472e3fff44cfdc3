"""What the core asks of whatever loads and runs models."""

from __future__ import annotations

from typing import Protocol

from headrace.consumer.core.calls import Answers, Calls
from headrace.consumer.core.plan import PlannedVersion
from headrace.schemas.records import Batching


class Servable(Protocol):
    """One loaded version that answers calls.

    **Concurrency:** all methods belong to the node's event loop; `infer` may run many times at
    once.
    """

    @property
    def signature_def(self) -> bytes:
        """The model's signatures: a `tensorflow.serving.SignatureDefMap`, encoded."""
        ...

    @property
    def is_busy(self) -> bool:
        """Whether calls wait here until others have run."""
        ...

    async def infer(self, calls: Calls, *, may_wait: bool = False) -> Answers:
        """Return one answer per call, in the order of the calls, when all are answered.

        Args:
            calls: requests for this version; each succeeds or fails alone.
            may_wait: wait for room when the queue is full (Kafka) instead of refusing (gRPC).

        Raises:
            QueueFull: the queue is at its bound and `may_wait` is false; nothing was queued.

        Cancellation: calls that the model has not begun to run are not run; the answers of the
        others are thrown away.
        """
        ...

    async def wait_broken(self) -> Exception:
        """Return only when this servable is beyond repair, with the reason.

        Cancellation: nothing is left behind.
        """
        ...

    def rebatch(self, batching: Batching) -> None:
        """Batch by these rules from the next frame on."""
        ...

    def rescale(self, replicas: int) -> None:
        """Answer with so many workers from now on; no call is lost by it. Returns at once."""
        ...

    async def unload(self) -> None:
        """Give back everything the version holds. Calls still inside are answered UNAVAILABLE."""
        ...


class Loader(Protocol):
    """Turns a planned version into a servable."""

    def expect(self, planned: PlannedVersion) -> None:
        """Get ready for the load of a version that is wanted; returns at once."""
        ...

    async def load(
        self,
        planned: PlannedVersion,
        batching: Batching,
        *,
        yields_cpu: bool,
        replicas: int = 1,
    ) -> Servable:
        """Fetch, verify, load and warm one version.

        Args:
            planned: what the log says of the version.
            batching: how its calls are to be batched.
            yields_cpu: load on few cores because others are serving.
            replicas: how many workers it is to have. It serves with the first one that has loaded;
                the others join as they do.

        Raises:
            LoadError: with the reason in words; `retriable` says whether to try again.

        Cancellation: the half-loaded version is gone when the cancelled call returns.
        """
        ...
