"""The plan as a value: partitions, boundaries, transfers, estimates. Frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from xr_locality.config import Budget
from xr_locality.graph.collections import Bundle
from xr_locality.placement.costs import CostModel
from xr_locality.plan.makespan import makespan
from xr_locality.plan.placement_view import PlacementView
from xr_locality.plan.read_estimates import Reads
from xr_locality.plan.replicas import ReplicaRead
from xr_locality.plan.survey import Source
from xr_locality.plan.transfers import Transfer, Transfers, Why
from xr_locality.regions.region import Region
from xr_locality.runtime import formatting

__all__ = [
    "Baseline",
    "Boundary",
    "Moved",
    "Partition",
    "PlacementView",
    "PlanRecord",
    "Transfer",
    "Why",
]

#: Bytes by pair of regions, source first.
Moved: TypeAlias = Mapping[tuple[Region, Region], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """A value made in one region and needed in others.

    Attributes
    ----------
    key : key
        The task that makes it.
    layer : str
        The layer of that task.
    source : Region
        Where it is made.
    targets : tuple of Region
        Where it is needed; it crosses to each once.
    nbytes : int
        Estimated bytes of the value.
    """

    key: Key
    layer: str
    source: Region
    targets: tuple[Region, ...]
    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What another way of doing the same work would move.

    Attributes
    ----------
    nbytes : int
        Bytes that would cross between regions.
    usd : float
        What they would cost.
    seconds : float
        How long they would take to cross, one pair after another.
    """

    nbytes: int
    usd: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """The tasks placed in one region.

    Attributes
    ----------
    region : Region
        Where they run.
    graph : HighLevelGraph
        Their layers, symbolic where they can be. Keys that other partitions
        make are absent: the engine puts a fetch in their place.
    outputs : tuple of key
        Results that this partition makes.
    sends : tuple of key
        Boundary values that it makes.
    send_layers : frozenset of str
        The layers that make them.
    fetches : tuple of Boundary
        Boundary values that it needs.
    needs : mapping of str to frozenset of str
        For each layer, all layers that it depends on, present here or not.
    fixed : frozenset of key
        Keys that keep their names on the scheduler: Futures.
    n_tasks : int or None
        Tasks before optimisation; None where counting them would make them.
    n_layers : int
        Layers before optimisation.
    upload_nbytes : int
        Bytes of arrays embedded in the graph, sent with it.
    layer_nbytes : mapping of str to int
        Estimated bytes of the largest value of each layer, where it fetches any.
    """

    region: Region
    graph: HighLevelGraph = field(repr=False)
    outputs: tuple[Key, ...] = field(repr=False)
    sends: tuple[Key, ...] = field(repr=False)
    send_layers: frozenset[str] = field(repr=False)
    fetches: tuple[Boundary, ...] = field(repr=False)
    needs: Mapping[str, frozenset[str]] = field(repr=False)
    fixed: frozenset[Key] = field(repr=False)
    n_tasks: int | None
    n_layers: int
    upload_nbytes: int
    layer_nbytes: Mapping[str, int] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PlanRecord:
    """Data and figures of a plan: what runs where, which bytes cross, and what they cost.

    :class:`xr_locality.Plan` is this record with methods that show and execute it. The
    cost comes from the prices that the placement minimised.

    Attributes
    ----------
    regions : tuple of Region
        Where tasks run.
    sources : tuple of Source
        What is read, and from which region.
    placement : mapping of key to Region
        Over the keys of the unoptimised graph.
    transfers : sequence of Transfer
        Everything that crosses between regions; made when it is gone through.
    usd, seconds : float
        Cost of the transfers; seconds take the pairs of regions one after another.
    objective : {"usd", "bytes", "seconds"}
        What was kept least.
    lower_bound : float
        No placement costs less than this, in the objective's unit.
    gap : float
        How far the cost may be above the optimum, as a share of the cost; 0.0 is
        proven optimal.
    solver : str
        What placed the tasks.
    unknowns : tuple of str
        What was guessed, why, and how to say better.
    client : Region
        Where results go.
    prices_as_of : str
        Date of the oldest list price used.
    partitions : tuple of Partition
        One for each region.
    boundaries : tuple of Boundary
        Values made in one region and needed in others.
    bundle : Bundle
        What is computed.
    costs : CostModel
        What priced the moves.
    reads : Reads
        Stored bytes read of each source.
    other_ways : callable
        Makes the baselines.
    replicas : tuple of ReplicaRead
        What each region reads of sources that have replicas.
    budget : Budget or None
        What the plan had to stay within.
    """

    regions: tuple[Region, ...]
    sources: tuple[Source, ...]
    placement: Mapping[Key, Region]
    transfers: Transfers
    usd: float
    seconds: float
    objective: str
    lower_bound: float
    gap: float
    solver: str
    unknowns: tuple[str, ...]
    client: Region
    prices_as_of: str
    partitions: tuple[Partition, ...]
    boundaries: tuple[Boundary, ...]
    bundle: Bundle
    costs: CostModel
    reads: Reads
    other_ways: Callable[[], Mapping[str, Baseline]]
    replicas: tuple[ReplicaRead, ...] = ()
    budget: Budget | None = None

    @cached_property
    def moved(self) -> Moved:
        """Bytes that cross, by pair of regions, source first."""
        return self.transfers.moved()

    @cached_property
    def baselines(self) -> Mapping[str, Baseline]:
        """The same work done in other ways, by name.

        ``local`` pulls everything here, ``all in <region>`` runs everything in one
        region. Stored bytes come from listings of the stores, made on first use.
        """
        return self.other_ways()

    @cached_property
    def makespan(self) -> float:
        """How long the moves take if pairs of regions move at the same time, in seconds.

        Values between regions first, then results, the slowest pair of each counts;
        ``seconds`` takes one pair after another. Computing is in neither.
        """
        return makespan(self.transfers.groups, self.costs.duration)

    @property
    def nbytes_moved(self) -> int:
        """All bytes that cross between regions."""
        return sum(self.moved.values())

    @property
    def headline(self) -> str:
        """The plan in one line."""
        return ", ".join(
            (
                formatting.counted(len(self.regions), "region"),
                formatting.counted(len(self.boundaries), "boundary value"),
                f"{formatting.nbytes(self.nbytes_moved)} to move",
                formatting.usd(self.usd),
            )
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.headline}>"
