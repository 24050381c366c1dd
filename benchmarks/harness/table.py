"""Every workload by every way to do it: bytes and US dollars, in one table.

``xr-locality workloads`` prints it. The workloads are real xarray graphs over declared
data (:mod:`benchmarks.harness.workloads`); nothing is run and no chunk is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dask.utils import format_bytes

from benchmarks.harness.ways import PricedWay, compare_ways
from benchmarks.harness.workloads import WORKLOADS
from xr_locality import api
from xr_locality.display.plans import Plan
from xr_locality.plan.formulate import formulate
from xr_locality.regions.region import LOCAL, Region

__all__ = ["WorkloadRow", "compare_workloads", "lay_out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadRow:
    """One workload.

    Attributes
    ----------
    name : str
        Of the workload.
    n_tasks : int
        Of its unoptimised graph.
    ways : mapping of str to PricedWay
        By name; ``plan`` is what the plan does.
    gap : float
        How far the plan may be above the optimum, as a share of its cost.
    plan : Plan
        The plan.
    """

    name: str
    n_tasks: int
    ways: Mapping[str, PricedWay]
    gap: float
    plan: Plan = field(repr=False)


def compare_workloads(
    *,
    n_tasks: int = 20_000,
    objective: Literal["usd", "bytes", "seconds"] = "usd",
    names: Iterable[str] = tuple(WORKLOADS),
) -> Iterator[WorkloadRow]:
    """Plan each workload, and price other ways of doing it.

    Parameters
    ----------
    n_tasks : int
        About how many tasks each has.
    objective : {"usd", "bytes", "seconds"}
        What plans keep least.
    names : iterable of str
        Of the workloads.

    Yields
    ------
    WorkloadRow
        One at a time: each takes a while to plan.
    """
    for name in names:
        workload = WORKLOADS[name]
        work = workload.build(workload.scale_for(n_tasks))
        endpoints: dict[str, Any] = dict.fromkeys(map(str, workload.regions))
        plan = api.plan(work, endpoints=endpoints, objective=objective, client_region=str(LOCAL))
        yield _row(name, plan, workload.regions, objective)


def _row(
    name: str,
    plan: Plan,
    regions: tuple[Region, ...],
    objective: Literal["usd", "bytes", "seconds"],
) -> WorkloadRow:
    problem = formulate(
        plan.reads,
        hosts={region: region for region in sorted(regions)},
        regions=tuple(sorted(regions)),
        client=plan.client,
        remote_read=True,
        listed=True,
    ).problem
    ways = compare_ways(problem, plan.costs, objective=objective)
    return WorkloadRow(
        name=name,
        n_tasks=problem.n_tasks,
        ways={**ways, "plan": PricedWay(nbytes=plan.nbytes_moved, usd=plan.usd)},
        gap=plan.gap,
        plan=plan,
    )


def lay_out(rows: Iterable[WorkloadRow]) -> str:
    """Lay out rows as a table in Markdown."""
    table = list(rows)
    names = list(table[0].ways) if table else []
    lines = [
        "| workload | tasks | " + " | ".join(names) + " | above the optimum |",
        "| --- | --: | " + " | ".join("--:" for _ in names) + " | --: |",
    ]
    for row in table:
        cells = [f"{format_bytes(way.nbytes)}, {way.usd:,.2f} USD" for way in row.ways.values()]
        gap = "0, proven" if row.gap == 0 else f"at most {row.gap:.1%}"
        lines.append(f"| {row.name} | {row.n_tasks:,} | " + " | ".join(cells) + f" | {gap} |")
    return "\n".join(lines)
