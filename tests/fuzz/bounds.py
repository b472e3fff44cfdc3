"""The bound of what a few bytes may cost, held by counting every allocation of Python and numpy."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, TypeVar

T = TypeVar("T")

PER_BYTE: Final = 128
"""Objects of Python's for a byte of input: Avro's emptiest tensor takes 90."""
ALLOWANCE: Final = 1 << 20
"""What reading anything at all may take."""


@contextmanager
def counted() -> Generator[None]:
    """Count allocations inside the block; for `costs`, which is too slow to start that itself."""
    gc.collect()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def bounded(read: Callable[[], T], size_bytes: int, allowance: int = ALLOWANCE) -> T:
    """Return what `read` returns, which must not take far more memory than its input has bytes."""
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    found = read()
    _, peak = tracemalloc.get_traced_memory()
    allowed = PER_BYTE * size_bytes + allowance
    assert peak - before <= allowed, f"{peak - before} bytes for {size_bytes}, at most {allowed}"
    return found


def readable(read: Callable[[bytes], T], data: bytes, *refusals: type[Exception]) -> T | None:
    """Return what `read` makes of the bytes; None when it refuses them, in words."""
    try:
        return bounded(lambda: read(data), len(data))
    except refusals as error:
        check_words(error)
        return None


def check_words(error: Exception) -> None:
    """Hold what an error says to being text that can be sent."""
    assert str(error).encode()
