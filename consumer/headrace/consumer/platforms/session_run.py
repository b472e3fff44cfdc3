"""One signature of a SavedModel as a function of arrays, run where it costs least.

TensorFlow hands a graph to its thread pool and waits, which costs a small graph three times its own
work (measured: 180 µs against 60 µs for y = 0.5 x + 2). A graph that was quick last time and has no
loop is run in the calling thread instead. A run in the calling thread cannot be ended at its
deadline, so graphs with loops, which may be endless, and slow ones never take that way.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Final, Protocol, cast

import tensorflow as tf  # type: ignore[import-untyped]

from headrace.consumer.platforms.platform import Array

_tf: Final = cast("Any", tf)

_LOOPS: Final = frozenset({"While", "StatelessWhile", "Enter", "RefEnter"})
_QUICK_SECONDS: Final = 0.001
_IN_CALLING_THREAD: Final = -1
_IN_POOL: Final = 0
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


class SessionRun:
    """Runs one set of fetches.

    **Concurrency:** one caller at a time.

    Args:
        run: what `Session.make_callable` made, with `accept_options`.
        may_loop: whether the graph can go round.
    """

    def __init__(self, run: Run, *, may_loop: bool) -> None:
        self._run = run
        self._may_loop = may_loop
        # The first run also optimises the graph, and tells nothing of the next.
        self._is_quick = False

    def __call__(self, feeds: Sequence[Array], timeout_seconds: float | None) -> list[object]:
        """Return the fetched values; raises what TensorFlow raises."""
        pool = _IN_CALLING_THREAD if self._is_quick and not self._may_loop else _IN_POOL
        options = _tf.compat.v1.RunOptions(
            timeout_in_ms=_milliseconds(timeout_seconds), inter_op_thread_pool=pool
        )
        began = time.perf_counter()
        values = self._run(*feeds, options=options)
        self._is_quick = time.perf_counter() - began < _QUICK_SECONDS
        return values


def _milliseconds(timeout_seconds: float | None) -> int:
    """Return a timeout as RunOptions counts it, where 0 means none."""
    if timeout_seconds is None or timeout_seconds > _MAX_TIMEOUT_MS / 1000:
        return 0
    return max(1, math.ceil(timeout_seconds * 1000))
