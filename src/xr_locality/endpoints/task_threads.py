"""Threads that run the tasks of the embedded region."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from distributed.threadpoolexecutor import ThreadPoolExecutor

from xr_locality.errors import ExecutionError

__all__ = ["TaskThreads"]


class TaskThreads(ThreadPoolExecutor):
    """Thread pool in which a task that interrupts its thread fails, as any other task.

    ``KeyboardInterrupt`` and ``SystemExit`` would end the event loop to which the worker
    hands them on. In the embedded region that is the loop of the session.
    """

    def submit(self, fn: Any, *args: Any, **kwargs: Any) -> Future[Any]:  # type: ignore[override]
        """Run a function in a thread of the pool."""
        submit: Callable[..., Future[Any]] = super().submit
        return submit(_run, fn, *args, **kwargs)


def _run(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except (KeyboardInterrupt, SystemExit) as error:
        raise ExecutionError(
            f"A task raised {type(error).__name__}, which ended the run. Raise an Exception in "
            "tasks instead.",
            raised=type(error).__name__,
        ) from error
