"""What ways to do some work would move: for the command line, without running anything."""

from __future__ import annotations

from typing import Literal

from benchmarks.harness.simulation import SHAPES, cloud_regions, simulate
from benchmarks.harness.table import compare_workloads, lay_out

__all__ = ["describe_simulation", "describe_workloads"]


def describe_simulation(
    shape: str,
    *,
    n_regions: int,
    n_tasks: int,
    objective: Literal["usd", "bytes", "seconds"],
    stored_nbytes: int | None = None,
) -> str:
    """Place a synthetic graph over many regions, and compare other ways, as text."""
    graph = SHAPES[shape](n_tasks, cloud_regions(n_regions))
    if stored_nbytes is not None:
        graph.grow(stored_nbytes)
    return str(simulate(graph, objective=objective))


def describe_workloads(*, n_tasks: int, objective: Literal["usd", "bytes", "seconds"]) -> str:
    """Plan real analyses of declared data, and compare other ways, as a table in Markdown."""
    return lay_out(compare_workloads(n_tasks=n_tasks, objective=objective))
