"""Threads that run the tasks of the embedded region."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import pytest

import xr_locality as xl


def in_a_task() -> bool:
    """Whether a worker's thread runs this; planning may try functions on small arrays."""
    return threading.current_thread().name.startswith("Dask-Default-Threads")


def interrupt(block: Any) -> Any:
    """Raise in a task what Ctrl-C does."""
    if in_a_task():
        raise KeyboardInterrupt
    return block


def leave(block: Any) -> Any:
    """Raise in a task what ends a program."""
    if in_a_task():
        sys.exit(3)
    return block


@pytest.mark.parametrize("function", [interrupt, leave])
def test_task_that_interrupts_ends_its_run_only(function: Callable[[Any], Any]) -> None:
    """The run fails with the kind of what was raised; the session computes on."""
    array = da.ones((4, 4), chunks=2)
    broken = array.map_blocks(function, dtype="f8", meta=np.empty((0, 0)))
    with xl.Session({}, progress=False) as session:
        with pytest.raises(xl.errors.ExecutionError, match=r"KeyboardInterrupt|SystemExit"):
            session.compute(broken)
        assert session.compute(array.sum()) == (16.0,)
