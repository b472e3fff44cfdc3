"""How workers are run: bounds of queues, frames, loads and deaths."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """Settings of all workers of a node.

    `intra_op_threads` is the size of each of a worker's platform pools; 0 is one per core. A
    version whose worker dies `max_deaths` times within `deaths_window_seconds` is broken.
    A second frame goes to a busy worker when it is at least half full. `answer_grace_seconds` is
    how long after its deadline a call in the worker may still be answered, `hang_grace_seconds` how
    long until its worker counts as hung.
    """

    max_queue_calls: int = 4096
    max_queue_bytes: int = 256 * 2**20
    max_frame_calls: int = 1024
    max_frame_bytes: int = 8 * 2**20
    max_frames_in_flight: int = 2
    load_timeout_seconds: float = 300.0
    intra_op_threads: int = 0
    max_deaths: int = 3
    deaths_window_seconds: float = 60.0
    answer_grace_seconds: float = 0.5
    hang_grace_seconds: float = 5.0
