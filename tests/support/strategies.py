"""Hypothesis strategies: xarray programs, placement problems, and what may happen in a run.

Needs Hypothesis, which no extra of this package brings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from dask.typing import Key
from hypothesis import strategies as st
from numpy.typing import NDArray

from support.problems import state_problem
from support.programs import OPERATIONS, PACKAGINGS, Program, Step
from xr_locality.execution.machine import PartitionKeys
from xr_locality.placement.problem import PlacementProblem, Prices
from xr_locality.regions.region import Region

__all__ = [
    "Moment",
    "partition_keys",
    "placement_problems",
    "prices_between",
    "programs",
    "run_moments",
]

#: Regions that things are drawn from; some links between them are priced alike, some not.
_REGIONS = tuple(map(Region.parse, ("aws:us-west-2", "aws:eu-west-1", "gcp:us-central1")))

_SMALL = st.integers(min_value=0, max_value=63)


def programs(*, most_steps: int = 5) -> st.SearchStrategy[Program]:
    """Draw xarray programs over two sources.

    Parameters
    ----------
    most_steps : int, optional
        Operations that a program has at most.
    """
    steps = st.builds(
        Step,
        operation=st.sampled_from(sorted(OPERATIONS)),
        first=st.integers(0, 11),
        second=st.integers(0, 11),
        choice=_SMALL,
    )
    return st.builds(
        Program,
        steps=st.lists(steps, min_size=1, max_size=most_steps).map(tuple),
        packaging=st.sampled_from(sorted(PACKAGINGS)),
    )


@st.composite
def placement_problems(
    draw: st.DrawFn,
    *,
    n_regions: int | None = None,
    most_tasks: int = 7,
    pinned: bool = True,
    circles: bool = False,
) -> PlacementProblem:
    """Draw placement problems that have a solution.

    Parameters
    ----------
    n_regions : int, optional
        Where tasks may run; by default two to four regions. Up to two places where
        nothing runs come with them.
    most_tasks : int, optional
        Small enough for :func:`~support.problems.best_by_brute_force`.
    pinned : bool, optional
        Whether tasks may be pinned, and bound to each other.
    circles : bool, optional
        Whether tasks may take from those after them, as joined tasks do.
    """
    regions = "abcd"[: draw(st.integers(2, 4)) if n_regions is None else n_regions]
    places = regions + "xy"[: draw(st.integers(0, 2))]
    n_tasks = draw(st.integers(1, most_tasks))
    sizes = st.integers(1, 1000)
    values: list[tuple[int, str | int, list[str | int]]] = []
    for task in range(n_tasks):
        others = [each for each in range(n_tasks) if each > task or (circles and each != task)]
        takers = [*draw(st.sets(st.sampled_from([*others, *places]), max_size=4))]
        values.append((draw(sizes), task, sorted(takers, key=str)))
    fixed = st.tuples(
        sizes, st.sampled_from(places), st.sets(st.integers(0, n_tasks - 1), max_size=3).map(sorted)
    )
    values += [(size, place, [*who]) for size, place, who in draw(st.lists(fixed, max_size=4))]
    tasks = st.integers(0, n_tasks - 1)
    pins = draw(st.dictionaries(tasks, st.sampled_from(regions))) if pinned else {}
    together = sorted(draw(st.sets(tasks, max_size=3))) if pinned else []
    # One region for all that must run together, or there is no solution.
    for task in [task for task in together if task in pins][1:]:
        del pins[task]
    return state_problem(
        values,
        places=places,
        n_regions=len(regions),
        n_tasks=n_tasks,
        pins=pins,
        units=[together] if len(together) > 1 else [],
    )


def prices_between(n_places: int, *, most: int = 10**6) -> st.SearchStrategy[Prices]:
    """Draw prices, seldom symmetric or a metric, some of them nothing.

    Parameters
    ----------
    n_places : int
        Places.
    most : int, optional
        The highest price of a byte.
    """
    price = st.sampled_from([0, 1, 9, 12, most]) | st.integers(0, most)
    rows = st.lists(price, min_size=n_places**2, max_size=n_places**2)
    return rows.map(lambda row: _prices(np.array(row, dtype=np.int64), n_places))


def _prices(row: NDArray[np.int64], n_places: int) -> Prices:
    objective = row.reshape(n_places, n_places)
    np.fill_diagonal(objective, 0)
    return Prices.of(objective)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Something that may happen in a run, chosen by numbers counted round.

    Parameters
    ----------
    kind : {"computed", "fetched", "gathered", "failed"}
        What happens.
    region : int
        Where.
    keys : tuple of int
        To which of the region's keys.
    """

    kind: str
    region: int
    keys: tuple[int, ...]


def run_moments(*, most: int = 40) -> st.SearchStrategy[list[Moment]]:
    """Draw what happens in a run: in any order, more than once, or never.

    Parameters
    ----------
    most : int, optional
        Moments at most.
    """
    # A failure ends everything, so it is rare.
    kinds = st.sampled_from(("computed", "gathered") * 6 + ("fetched", "failed"))
    keys = st.lists(st.integers(0, 7), min_size=1, max_size=4).map(tuple)
    moment = st.builds(Moment, kind=kinds, region=st.integers(0, 2), keys=keys)
    return st.lists(moment, max_size=most)


@st.composite
def partition_keys(draw: st.DrawFn) -> Mapping[Region, PartitionKeys]:
    """Draw what the partitions of a run owe, to the client and to each other."""
    regions = draw(st.lists(st.sampled_from(_REGIONS), min_size=1, max_size=3, unique=True))
    names = st.sets(st.integers(0, 3))
    sends: dict[Region, dict[Key, frozenset[Region]]] = {region: {} for region in regions}
    for region in regions:
        others = [each for each in regions if each != region]
        for name in sorted(draw(names)) if others else ():
            targets = draw(st.sets(st.sampled_from(others), min_size=1))
            sends[region][f"sent-{region}-{name}"] = frozenset(targets)
    return {
        region: PartitionKeys(
            outputs=frozenset(f"made-{region}-{name}" for name in draw(names)),
            sends=sends[region],
            fetches=frozenset(
                key for keys in sends.values() for key, targets in keys.items() if region in targets
            ),
        )
        for region in regions
    }
