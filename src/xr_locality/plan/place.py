"""Place the tasks of a graph: state the problem, solve it, say what is read from afar."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from xr_locality.placement.problem import Prices
from xr_locality.placement.solve import Placement, Solver, solve
from xr_locality.plan.formulate import FormulatedProblem, formulate
from xr_locality.plan.read_estimates import Reads
from xr_locality.plan.replicas import PricesOf, ReplicaRead, nearest
from xr_locality.plan.survey import Source
from xr_locality.regions.region import Region

__all__ = ["Placed", "RemoteRead", "place"]

logger = logging.getLogger(__name__)

_Ints = NDArray[np.int64]

#: Ways to choose among replicas that are each tried in full; of more, the originals are read.
_MOST_CHOICES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteRead:
    """A source of which tasks in another region read stored bytes.

    Attributes
    ----------
    source : Source
        What is read.
    origin : Region
        Where it lies, or its replica that is read.
    url : str
        Its URL, or its replica's.
    target : Region
        Where the tasks run.
    nbytes : int
        Stored bytes that they read, estimated.
    """

    source: Source
    origin: Region
    url: str
    target: Region
    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placed:
    """Where the tasks of a graph run.

    Attributes
    ----------
    places : tuple of Region
        What places mean; regions where tasks may run come first.
    where : ndarray of int64, shape (n_tasks,)
        Place of each task of the structure; -1 for plain values, which run nowhere.
    solution : Placement
        Of the placement problem.
    unit : float
        What one of its costs is, in the unit of the objective.
    remote : tuple of RemoteRead
        Sources of which stored bytes are read from another region.
    """

    places: tuple[Region, ...]
    where: _Ints
    solution: Placement
    unit: float
    remote: tuple[RemoteRead, ...]


def place(
    reads: Reads,
    *,
    hosts: Mapping[Region, Region],
    usable: Iterable[Region],
    client: Region,
    prices: PricesOf,
    remote_read: bool,
    solver: Solver = solve,
    results_stay: bool = False,
) -> Placed:
    """Decide where each task of a graph runs.

    Stores are asked for their stored bytes only if that may change something: first, all
    are taken to be compressed as well as arrays ever are. A placement that is best even so,
    and reads nothing from afar, is best whatever they hold.

    Parameters
    ----------
    reads : Reads
        The graph's tasks, their sizes, and what they read.
    hosts : mapping of Region to Region
        The region that serves the data of each region.
    usable : iterable of Region
        Where tasks may run.
    client : Region
        Where results go.
    prices : callable
        Prices a byte between places.
    remote_read : bool
        Whether another region's workers may read a source's stored bytes.
    solver : callable, optional
        What places the tasks, if not the best there is.
    results_stay : bool, optional
        Whether results stay where they are made.

    Returns
    -------
    Placed

    Raises
    ------
    PlacementError
        If pins contradict each other.
    """
    homes = {hosts[region] for region in hosts}
    lying = {region for source in reads.survey.sources for region in source.regions}
    regions = _worth_trying(
        sorted({*usable, *homes}), homes, (*hosts, *sorted(lying), client), prices
    )
    ask = partial(
        formulate,
        reads,
        hosts=hosts,
        regions=regions,
        client=client,
        remote_read=remote_read,
        results_stay=results_stay,
    )
    tried = []
    beside = None if results_stay else client
    for chosen in _choices(reads, hosts, client=beside, kept_alone=remote_read):
        formulated = ask(listed=False, chosen=chosen)
        tried.append((chosen, formulated, *_solve(formulated, prices, solver)))
    chosen, formulated, solution, priced = min(
        tried, key=lambda each: (each[1].contradictions, each[2].cost * each[3].unit)
    )
    remote = _remote_reads(formulated, solution, prices)
    if remote:
        logger.info("Asking stores what they hold: reading %d from afar may pay", len(remote))
        formulated = ask(listed=True, chosen=chosen)
        solution, priced = _solve(formulated, prices, solver)
        remote = _remote_reads(formulated, solution, prices)
    where = np.full(reads.structure.n_tasks, -1, dtype=np.int64)
    where[formulated.tasks] = solution.placed
    return Placed(
        places=formulated.problem.places,
        where=where,
        solution=solution,
        unit=priced.unit,
        remote=remote,
    )


def _choices(
    reads: Reads, hosts: Mapping[Region, Region], *, client: Region | None, kept_alone: bool
) -> list[Mapping[tuple[Region, ...], Region]]:
    """List the ways to read each source that has replicas in one of its regions.

    With `kept_alone` only of those that may not leave. What never leaves is read where
    its results are wanted, if there is a copy there: at `client`, unless that is None.
    """
    leaves: dict[tuple[Region, ...], set[str]] = {}
    for reading in reads.readings:
        if len(reading.regions) > 1:
            leaves.setdefault(reading.regions, set()).update(
                source.leaves for source in reading.sources
            )
    several, ways = [], []
    for regions, kept in leaves.items():
        if kept_alone and kept == {"always"}:
            continue
        served = [each for each in regions if each in hosts and _serves(hosts[each], each)]
        if "never" in kept and client is not None:
            served = [each for each in served if _serves(client, each)] or served
        several.append(regions)
        ways.append(served)
    if math.prod(map(len, ways)) > _MOST_CHOICES or not all(ways):
        return [{}]
    return [dict(zip(several, each, strict=True)) for each in product(*ways)]


def _serves(host: Region, region: Region) -> bool:
    return region.overlaps(host)


def _solve(
    formulated: FormulatedProblem, prices: PricesOf, solver: Solver
) -> tuple[Placement, Prices]:
    priced = formulated.priced(prices(formulated.problem.places))
    return solver(formulated.problem, priced), priced


def _worth_trying(
    usable: Sequence[Region],
    homes: set[Region],
    places: Iterable[Region],
    prices: PricesOf,
) -> tuple[Region, ...]:
    """Leave out regions that another is never worse than, whatever runs there.

    A region where nothing lies is one of these if bytes from every place cost as little
    to some home, and bytes from that home to every place.
    """
    every = list(dict.fromkeys([*usable, *places]))
    priced = prices(every)
    fixed = [every.index(place) for place in dict.fromkeys([*homes, *places])]
    kept = [region for region in usable if region in homes]
    for region in usable:
        if region in homes:
            continue
        here = every.index(region)
        others = [place for place in fixed if place != here]
        if here in fixed or not any(
            all(
                (matrix[others, home] <= matrix[others, here]).all()
                and (matrix[home, others] <= matrix[here, others]).all()
                for matrix in (priced.objective, priced.ties)
            )
            for home in (every.index(each) for each in sorted(homes))
        ):
            kept.append(region)
    return tuple(sorted(kept))


def _remote_reads(
    formulated: FormulatedProblem, solution: Placement, prices: PricesOf
) -> tuple[RemoteRead, ...]:
    """List the sources of which stored bytes cross, by the regions that read them."""
    problem = formulated.problem
    found: dict[tuple[int, Region], RemoteRead] = {}
    where = np.concatenate([np.arange(problem.n_places), solution.placed])
    for reading, values in zip(formulated.readings, formulated.read_values, strict=True):
        readers = where[problem.n_places + formulated.node_of[reading.tasks]]
        for place in np.unique(readers).tolist():
            region = problem.places[place]
            nbytes = int(problem.nbytes[values[readers == place]].sum())
            for source in reading.sources:
                read = ReplicaRead(
                    source=source, target=region, replica=nearest(source, region, prices)
                )
                if region.overlaps(read.region):
                    continue
                before = found.get((id(source), region))
                found[id(source), region] = RemoteRead(
                    source=source,
                    origin=read.region,
                    url=read.url,
                    target=region,
                    nbytes=nbytes // len(reading.sources) + (before.nbytes if before else 0),
                )
    return tuple(found.values())
