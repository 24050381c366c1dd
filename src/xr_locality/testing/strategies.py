"""Hypothesis strategies: xarray programs, placement problems, and what may happen in a run.

Needs Hypothesis, which no extra of this package brings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dask.typing import Key
from hypothesis import strategies as st

from xr_locality.execution.machine import PartitionKeys
from xr_locality.placement.problem import PlacementProblem
from xr_locality.regions.model import Region
from xr_locality.testing.programs import OPERATIONS, PACKAGINGS, Program, Step

__all__ = ["Moment", "partition_keys", "placement_problems", "programs", "run_moments"]

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
    draw: st.DrawFn, *, most_tasks: int = 7, regions: tuple[Region, ...] = _REGIONS
) -> PlacementProblem:
    """Draw placement problems that have a solution.

    Parameters
    ----------
    most_tasks : int, optional
        Small enough for brute force.
    regions : tuple of Region, optional
        Where tasks may run.
    """
    n_tasks = draw(st.integers(1, most_tasks))
    tasks = st.integers(0, n_tasks - 1)
    inputs = [
        tuple(sorted(draw(st.sets(st.integers(0, task - 1), max_size=3)))) if task else ()
        for task in range(n_tasks)
    ]
    together = sorted(draw(st.sets(tasks, max_size=3)))
    pins = draw(st.dictionaries(tasks, st.sampled_from(regions), max_size=n_tasks))
    # One region for all that must run together, or there is no solution.
    pinned = [pins[task] for task in together if task in pins]
    return PlacementProblem(
        regions=regions,
        nbytes=draw(st.lists(st.integers(1, 1000), min_size=n_tasks, max_size=n_tasks)),
        inputs=inputs,
        pins={task: pinned[0] if task in together else where for task, where in pins.items()},
        units=[tuple(together)] if len(together) > 1 else [],
        results=frozenset(draw(st.sets(tasks))),
        client=draw(st.sampled_from((*regions, Region.parse("local")))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Something that may happen in a run, told by numbers counted round.

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
