"""Plan synthetic graphs over many regions, from the shipped tables: no data, no clusters.

A graph here is sizes and links between tasks, made by the million in a second, so that
anyone can see on a laptop what placement does, and what it takes, over 30 regions and a
million tasks::

    from benchmarks.harness.simulation import SHAPES, cloud_regions, simulate

    graph = SHAPES["halo"](n_tasks=1_000_000, regions=cloud_regions(30))
    print(simulate(graph))

or, from the command line, ``xr-locality simulate --shape halo --regions 30 --tasks 1000000``.
Every way of doing the work is priced by the same cost model as a plan's: everything
pulled to the user's machine, everything in the best single region, each region's own part
beside its data and the rest on the user's machine (the split made by hand), a greedy
forward pass, and the placement that a plan would take, with its bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from dask.utils import format_bytes
from numpy.typing import NDArray

from benchmarks.harness.ways import PricedWay, compare_ways, price_way
from xr_locality.errors import ConfigurationError
from xr_locality.placement.costs import CostModel
from xr_locality.placement.problem import PlacementProblem
from xr_locality.placement.solve import Placement, solve
from xr_locality.regions.cloud_regions import known_regions
from xr_locality.regions.region import LOCAL, Region

__all__ = [
    "SHAPES",
    "Simulated",
    "SyntheticGraph",
    "cloud_regions",
    "simulate",
]

_Ints = NDArray[np.int64]
_MB: Final = 10**6


@dataclass(slots=True, kw_only=True)
class SyntheticGraph:
    """Tasks, the bytes of their values, and which values each takes.

    Made layer by layer: each method adds tasks and returns their numbers.

    Parameters
    ----------
    regions : sequence of Region
        Where data are stored, and where tasks may run.
    client : Region
        Where results go.

    Examples
    --------
    The difference of two means, each over a thousand chunks of 100 MB:

    >>> graph = SyntheticGraph(regions=cloud_regions(2))
    >>> means = [
    ...     graph.tree(graph.map(graph.load(1_000, nbytes=100_000_000, region=r), nbytes=8_000_000))
    ...     for r in range(2)
    ... ]
    >>> graph.result(graph.join(*means, nbytes=8_000_000))
    >>> result = simulate(graph, objective="bytes")
    >>> result.ways["plan"].nbytes, result.ways["local"].nbytes
    (16000000, 100000000000)
    """

    regions: Sequence[Region]
    client: Region = LOCAL
    n_tasks: int = 0
    #: Bytes of each task's value, by layers.
    sizes: list[_Ints] = field(default_factory=list)
    #: Pairs of a task that makes a value and one that takes it, by layers.
    edges: list[tuple[_Ints, _Ints]] = field(default_factory=list)
    #: Tasks that read, the number of their data's region, and stored bytes, by layers.
    reads: list[tuple[_Ints, _Ints, _Ints]] = field(default_factory=list)
    results: list[_Ints] = field(default_factory=list)

    def _add(self, count: int, nbytes: Any) -> _Ints:
        tasks = np.arange(self.n_tasks, self.n_tasks + count)
        self.n_tasks += count
        self.sizes.append(np.broadcast_to(np.asarray(nbytes, dtype=np.int64), count).copy())
        return tasks

    def load(self, count: int, *, nbytes: Any, region: Any, ratio: float = 0.5) -> _Ints:
        """Add tasks that each read a chunk.

        Parameters
        ----------
        count : int
            How many.
        nbytes : int or array_like of int, shape (count,)
            Bytes of a chunk in memory.
        region : int or array_like of int, shape (count,)
            Number of the region that stores it.
        ratio : float
            Stored bytes for each byte in memory.
        """
        tasks = self._add(count, nbytes)
        stored = np.maximum((self.sizes[-1] * ratio).astype(np.int64), 1)
        where = np.broadcast_to(np.asarray(region, dtype=np.int64), count).copy()
        self.reads.append((tasks, where, stored))
        return tasks

    def map(self, *inputs: _Ints, nbytes: Any) -> _Ints:
        """Add a task for each task of the inputs, which are of one length, or of length one."""
        count = max(map(len, inputs))
        tasks = self._add(count, nbytes)
        for each in inputs:
            self.edges.append((np.broadcast_to(each, count), tasks))
        return tasks

    def join(self, *inputs: _Ints, nbytes: int) -> _Ints:
        """Add one task that takes all inputs."""
        task = self._add(1, nbytes)
        every = np.concatenate(inputs)
        self.edges.append((every, np.broadcast_to(task, len(every))))
        return task

    def tree(self, tasks: _Ints, *, fan_in: int = 4) -> _Ints:
        """Reduce tasks to one by steps of so many, each as large as its first input."""
        nbytes = int(np.concatenate(self.sizes)[tasks[0]])
        while len(tasks) > 1:
            above = self._add(-(-len(tasks) // fan_in), nbytes)
            self.edges.append((tasks, above[np.arange(len(tasks)) // fan_in]))
            tasks = above
        return tasks

    def halo(self, tasks: _Ints, *, width: int, nbytes: Any, share: float = 0.02) -> _Ints:
        """Add a task for each of a grid, which takes it and edges of its four neighbours.

        Parameters
        ----------
        tasks : ndarray of int, shape (n,)
            A grid, row by row.
        width : int
            Length of a row.
        nbytes : int or array_like
            Bytes of each new task's value.
        share : float
            Bytes of an edge, for each byte of the value that it is cut from.
        """
        count = len(tasks)
        edges = np.maximum((np.concatenate(self.sizes)[tasks] * share).astype(np.int64), 1)
        new = self._add(count, nbytes)
        self.edges.append((tasks, new))
        row, column = np.divmod(np.arange(count), width)
        for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            to = (row + down) * width + column + right
            inside = (row + down >= 0) & (to < count) & (to >= 0)
            inside &= (column + right >= 0) & (column + right < width)
            pieces = self._add(int(inside.sum()), edges[inside])
            self.edges.append((tasks[inside], pieces))
            self.edges.append((pieces, new[to[inside]]))
        return new

    def result(self, tasks: _Ints) -> None:
        """Bring the values of some tasks to the client."""
        self.results.append(tasks)

    @property
    def stored_nbytes(self) -> int:
        """Stored bytes that all tasks together read."""
        return sum(int(stored.sum()) for _, _, stored in self.reads)

    def grow(self, stored_nbytes: int) -> None:
        """Multiply all sizes, so that the graph reads about so many stored bytes."""
        factor = stored_nbytes / self.stored_nbytes
        self.sizes = [(sizes * factor).astype(np.int64) for sizes in self.sizes]
        self.reads = [
            (tasks, where, (stored * factor).astype(np.int64))
            for tasks, where, stored in self.reads
        ]

    def problem(self) -> PlacementProblem:
        """State the graph as a placement problem."""
        n_regions = len(self.regions)
        places = (*self.regions, self.client)
        tasks, where, stored = (np.concatenate(each) for each in zip(*self.reads, strict=True))
        made = np.concatenate([made for made, _ in self.edges])
        taken = np.concatenate([taken for _, taken in self.edges])
        results = np.concatenate(self.results)
        first, n_places = self.n_tasks, len(places)
        return PlacementProblem(
            places=places,
            n_regions=n_regions,
            n_tasks=self.n_tasks,
            nbytes=np.concatenate([*self.sizes, stored]),
            makers=np.concatenate([np.arange(first) + n_places, where]),
            values=np.concatenate([made, first + np.arange(len(tasks)), results]),
            takers=np.concatenate(
                [taken + n_places, tasks + n_places, np.full(len(results), n_regions)]
            ),
            pins=np.full(self.n_tasks, -1, dtype=np.int64),
        )


def cloud_regions(count: int) -> tuple[Region, ...]:
    """Choose public regions of all providers from the shipped table, in turn.

    Parameters
    ----------
    count : int
        How many; the first are well-known ones.

    Returns
    -------
    tuple of Region

    Raises
    ------
    ConfigurationError
        If the table has fewer.
    """
    first = ("aws:us-west-2", "gcp:us-central1", "azure:westeurope", "aws:us-east-1")
    by_provider: dict[str, list[str]] = {}
    for name, known in known_regions().items():
        if known.kind == "region" and known.status == "public":
            by_provider.setdefault(name.partition(":")[0], []).append(name)
    longest = max(map(len, by_provider.values()))
    mixed = [
        names[place]
        for place in range(longest)
        for names in by_provider.values()
        if place < len(names)
    ]
    chosen = list(dict.fromkeys([*first, *mixed]))[:count]
    if len(chosen) < count:
        raise ConfigurationError(
            f"There are only {len(chosen)} public regions in the table, not {count}."
        )
    return tuple(map(Region.parse, chosen))


def reduction(n_tasks: int, regions: Sequence[Region], **kwargs: Any) -> SyntheticGraph:
    """Subtract the means of one dataset in each region: every sensible way ties."""
    graph = SyntheticGraph(regions=regions, **kwargs)
    n_chunks = max(1, int(n_tasks / len(regions) / 4.34))
    means = []
    for region in range(len(regions)):
        chunks = graph.load(n_chunks, nbytes=100 * _MB, region=region)
        changed = graph.map(graph.map(chunks, nbytes=100 * _MB), nbytes=100 * _MB)
        means.append(graph.tree(graph.map(changed, nbytes=1 * _MB)))
    graph.result(graph.join(*means, nbytes=1 * _MB))
    return graph


def mask_and_difference(
    n_tasks: int, regions: Sequence[Region], *, seed: int = 0, **kwargs: Any
) -> SyntheticGraph:
    """Mask each region's data by a field of the next one's, and subtract these by chunks.

    Chunks differ in size, so where a difference is best made differs by chunk.
    """
    graph = SyntheticGraph(regions=regions, **kwargs)
    random = np.random.default_rng(seed)
    n_chunks = max(1, int(n_tasks / len(regions) / 7.7))
    data, masks = [], []
    for region in range(len(regions)):
        chunks = graph.load(n_chunks, nbytes=100 * _MB, region=region)
        data.append(graph.map(chunks, nbytes=100 * _MB))
        masks.append(graph.tree(graph.map(data[-1], nbytes=2 * _MB)))
    means = []
    for region in range(len(regions)):
        other = (region + 1) % len(regions)
        masked = graph.map(data[region], masks[other], nbytes=100 * _MB)
        coarse = graph.map(masked, nbytes=random.choice([3, 25, 60, 100, 140], size=n_chunks) * _MB)
        difference = graph.map(coarse, data[other], nbytes=50 * _MB)
        means.append(graph.tree(graph.map(difference, nbytes=1 * _MB)))
    graph.result(graph.join(*means, nbytes=1 * _MB))
    return graph


def halo(
    n_tasks: int, regions: Sequence[Region], *, rounds: int = 2, **kwargs: Any
) -> SyntheticGraph:
    """Smooth a grid of one piece a region by its neighbours' edges, and reduce it."""
    graph = SyntheticGraph(regions=regions, **kwargs)
    n_chunks = max(4, int(n_tasks / (2.34 + 5 * rounds)))
    width = max(2, int(n_chunks**0.5))
    count = width * max(len(regions), n_chunks // width)
    rows = np.arange(count) // width
    piece = rows * len(regions) // (rows.max() + 1)
    grid = graph.load(count, nbytes=100 * _MB, region=piece)
    for _ in range(rounds):
        grid = graph.halo(grid, width=width, nbytes=100 * _MB)
    graph.result(graph.tree(graph.map(grid, nbytes=1 * _MB)))
    return graph


def checkerboard(
    n_tasks: int, regions: Sequence[Region], *, rounds: int = 6, seed: int = 0, **kwargs: Any
) -> SyntheticGraph:
    """Smooth a grid of blocks in random regions by whole neighbours: the worst case."""
    graph = SyntheticGraph(regions=regions, **kwargs)
    random = np.random.default_rng(seed)
    width = max(2, int((n_tasks / (rounds + 2.3)) ** 0.5))
    row, column = np.divmod(np.arange(width * width), width)
    blocks = random.integers(len(regions), size=(width // 16 + 1, width // 16 + 1))
    grid = graph.load(width * width, nbytes=100 * _MB, region=blocks[row // 16, column // 16])
    for _ in range(rounds):
        sizes = random.choice([10, 60, 100, 160], size=width * width) * _MB
        new = graph.map(grid, nbytes=sizes)
        for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            inside = (row + down >= 0) & (row + down < width)
            inside &= (column + right >= 0) & (column + right < width)
            to = (row + down) * width + column + right
            graph.edges.append((grid[inside], new[to[inside]]))
        grid = new
    graph.result(graph.tree(graph.map(grid, nbytes=1 * _MB)))
    return graph


#: Graphs by name; each takes a number of tasks and regions.
SHAPES: Final[Mapping[str, Callable[..., SyntheticGraph]]] = {
    "reduction": reduction,
    "mask-and-difference": mask_and_difference,
    "halo": halo,
    "checkerboard": checkerboard,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """What the ways of doing some work would move.

    Attributes
    ----------
    n_tasks, n_regions : int
        Size of the graph.
    ways : mapping of str to PricedWay
        By name; ``plan`` is what a plan would do.
    placement : Placement
        Of the plan, with its bound.
    gap : float
        How far the plan may be above the optimum, as a share of its cost.
    seconds : float
        That placing took.
    """

    n_tasks: int
    n_regions: int
    ways: Mapping[str, PricedWay]
    placement: Placement = field(repr=False)
    gap: float
    seconds: float

    def __str__(self) -> str:
        width = max(map(len, self.ways))
        placed = f"{self.placement.solver}, at most {self.gap:.2%} above the optimum"
        size = f"{self.n_tasks:,} tasks over {self.n_regions} regions"
        lines = [f"{size}, placed in {self.seconds:.2f} s ({placed})"]
        lines += [
            f"  {name.ljust(width)}  {format_bytes(way.nbytes):>11}  {way.usd:>14,.2f} USD"
            for name, way in self.ways.items()
        ]
        return "\n".join(lines)


def simulate(
    graph: SyntheticGraph,
    *,
    objective: Literal["usd", "bytes", "seconds"] = "usd",
    costs: CostModel | None = None,
) -> Simulated:
    """Place a synthetic graph, and price other ways of doing the same work.

    Parameters
    ----------
    graph : SyntheticGraph
        The work.
    objective : {"usd", "bytes", "seconds"}
        What the placement keeps least.
    costs : CostModel, optional
        Prices and links; by default the shipped tables.

    Returns
    -------
    Simulated
    """
    costs = costs or CostModel()
    problem = graph.problem()
    prices = costs.prices(objective, problem.places)
    started = time.perf_counter()
    found = solve(problem, prices)
    seconds = time.perf_counter() - started

    ways = compare_ways(problem, costs, objective=objective)
    return Simulated(
        n_tasks=problem.n_tasks,
        n_regions=problem.n_regions,
        ways={**ways, "plan": price_way(problem, found.placed, costs)},
        placement=found,
        gap=found.gap,
        seconds=seconds,
    )
