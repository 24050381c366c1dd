"""Waiting for events in another thread or process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

#: How much longer than on an idle machine a test waits before it reports a hang.
PATIENCE = float(os.environ.get("XR_LOCALITY_TEST_PATIENCE", "4"))


def patience(seconds: float) -> float:
    """Scale a time limit that ends a hang, so that a busy machine does not reach it."""
    return seconds * PATIENCE


def until(condition: Callable[[], bool], *, seconds: float = 20.0) -> bool:
    """Poll until a condition holds, or report that it did not in time."""
    deadline = time.monotonic() + patience(seconds)
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def stays(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Report whether a condition holds for a while; no machine is too slow for that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not condition():
            return False
        time.sleep(0.02)
    return True
