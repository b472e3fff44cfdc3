"""One signature of a SavedModel as a function of arrays, run where it costs least.

A small graph costs less than what surrounds it (measured for y = 0.5 x + 2): `Session.run` takes
80 µs to look at its arguments, and the hand-over to TensorFlow's thread pool takes 30 µs more. A
graph that was quick last time and has no loop is run by a prepared callable, in the calling thread:
7 µs. A run in the calling thread cannot be ended at its deadline, so graphs with loops, which may
be endless, and slow ones never take that way.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Final, Protocol, cast

import tensorflow as tf  # type: ignore[import-untyped]
from tensorflow.core.protobuf.config_pb2 import CallableOptions  # type: ignore[import-untyped]

from headrace.consumer.platforms.platform import Array

_tf: Final = cast("Any", tf)

_LOOPS: Final = frozenset({"While", "StatelessWhile", "Enter", "RefEnter"})
_QUICK_SECONDS: Final = 0.001
_IN_CALLING_THREAD: Final = -1
_IN_POOL: Final = 0
_OTHER_SHAPE: Final = "Cannot feed value of shape"
_MAX_TIMEOUT_MS: Final = 2**31

Run = Callable[..., list[object]]


class _Node(Protocol):
    op: str


class _Function(Protocol):
    node_def: Iterable[_Node]


class _Library(Protocol):
    function: Iterable[_Function]


class GraphDef(Protocol):
    """What of TensorFlow's message of that name is used here."""

    node: Iterable[_Node]
    library: _Library


def has_loop(graph: GraphDef) -> bool:
    """Whether a graph, or a function that it may call, can go round."""
    functions = (function.node_def for function in graph.library.function)
    return any(node.op in _LOOPS for node in chain(graph.node, *functions))


class Session(Protocol):
    """What of `tf.compat.v1.Session` is used here."""

    def run(self, fetches: object, feed_dict: object, options: object) -> list[object]:
        """Feed, run and fetch; looks at shapes first."""
        ...

    def _make_callable_from_options(self, options: object) -> Run:
        """Return a function of the fed values that gives the fetched ones."""
        ...


class SessionRun:
    """Feeds some tensors of a session's graph and fetches others, both given by name.

    As in TensorFlow Serving, shapes are the graph's business: what an operation can take is taken,
    whatever the placeholder declares.

    **Concurrency:** one caller at a time.

    Source: tensorflow/core/public/session.h, `MakeCallable`. Its Python name has an underscore, and
    there is no other; TensorFlow's own Keras calls it.
    """

    def __init__(
        self, session: Session, feeds: Sequence[str], fetches: Sequence[str], *, may_loop: bool
    ) -> None:
        self._session = session
        self._feeds = list(feeds)
        self._fetches = list(fetches)
        self._may_loop = may_loop
        # The first run also optimises the graph, and tells nothing of the next.
        self._is_quick = False
        self._runs: dict[int, Run] = {}

    def __call__(self, values: Sequence[Array], timeout_seconds: float | None) -> list[object]:
        """Return the fetched values; raises what TensorFlow raises."""
        began = time.perf_counter()
        if self._is_quick and not self._may_loop:
            fetched = self._unchecked(_IN_CALLING_THREAD, values)
        else:
            fetched = self._timed(values, timeout_seconds)
        self._is_quick = time.perf_counter() - began < _QUICK_SECONDS
        return fetched

    def _timed(self, values: Sequence[Array], timeout_seconds: float | None) -> list[object]:
        options = _tf.compat.v1.RunOptions(timeout_in_ms=_milliseconds(timeout_seconds))
        fed = dict(zip(self._feeds, values, strict=True))
        try:
            return self._session.run(self._fetches, fed, options)
        except ValueError as error:
            if _OTHER_SHAPE not in str(error):
                raise
        return self._unchecked(_IN_POOL, values)

    def _unchecked(self, pool: int, values: Sequence[Array]) -> list[object]:
        """Run without Python's look at the shapes, and without a timeout."""
        run = self._runs.get(pool)
        if run is None:
            options = CallableOptions(feed=self._feeds, fetch=self._fetches)
            options.run_options.inter_op_thread_pool = pool
            run = self._runs[pool] = self._session._make_callable_from_options(options)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        return run(*values)


def _milliseconds(timeout_seconds: float | None) -> int:
    """Return a timeout as RunOptions counts it, where 0 means none."""
    if timeout_seconds is None or timeout_seconds > _MAX_TIMEOUT_MS / 1000:
        return 0
    return max(1, math.ceil(timeout_seconds * 1000))
