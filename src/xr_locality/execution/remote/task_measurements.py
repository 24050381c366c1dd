"""Measurements of the tasks of a run, made on their scheduler."""

from __future__ import annotations

from typing import Any

from dask.typing import Key

__all__ = ["measure_span", "sizes_of"]


def measure_span(span_id: str, dask_scheduler: Any = None) -> dict[str, float]:
    """Run on a scheduler: count the tasks of one span, those done, and their seconds."""
    extension = dask_scheduler.extensions.get("spans")
    span = extension.spans.get(span_id) if extension is not None else None
    if span is None:
        return {"tasks": 0, "done": 0, "seconds": 0.0, "workers": len(dask_scheduler.workers)}
    states = span.states
    waiting = sum(
        states.get(state, 0) for state in ("waiting", "queued", "processing", "no-worker")
    )
    total = sum(states.values())
    return {
        "tasks": total,
        "done": total - waiting,
        "seconds": float(span.all_durations.get("compute", 0.0)),
        "workers": len(dask_scheduler.workers),
    }


def sizes_of(keys: list[Key], dask_scheduler: Any = None) -> list[int | None]:
    """Run on a scheduler: return the bytes of finished tasks' values; None of others."""
    tasks = [dask_scheduler.tasks.get(key) for key in keys]
    known = [None if task is None or task.nbytes < 0 else task.nbytes for task in tasks]
    return [None if nbytes is None else int(nbytes) for nbytes in known]
