"""Python's collector of reference cycles, paused while large graphs are read."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collector_paused"]

_lock = threading.Lock()
#: How many blocks are pausing the collector now, in all threads.
_pausing = 0


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the collector for a block that makes many objects, all of which live on.

    A graph of a million tasks is millions of tuples, and reading it makes more: each full
    collection visits them all and frees nothing. It took 1.5 of 5 seconds in which a stencil
    of 300,000 tasks is planned. The pause is one of the process, so a block must not wait
    for a network or a disk. A collector that the user has disabled stays disabled.
    """
    global _pausing  # noqa: PLW0603  # The collector, too, is one for the process.
    with _lock:
        pauses = _pausing > 0 or gc.isenabled()
        if pauses:
            _pausing += 1
            gc.disable()
    try:
        yield
    finally:
        if pauses:
            with _lock:
                _pausing -= 1
                if _pausing == 0:
                    gc.enable()
