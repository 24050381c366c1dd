"""The plan as a value: partitions, boundaries, transfers, estimates. Frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from xr_locality.config import Budget
from xr_locality.graph.collections import Bundle
from xr_locality.placement.costs import CostModel
from xr_locality.plan.reads import Reads
from xr_locality.plan.survey import Source
from xr_locality.plan.words import headline
from xr_locality.regions.model import Region

__all__ = [
    "Baseline",
    "Boundary",
    "Moved",
    "Partition",
    "PlacementView",
    "Plan",
    "Transfer",
    "Why",
    "sum_moved",
]

Why: TypeAlias = Literal["boundary", "remote-read", "result", "upload"]

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
class Transfer:
    """One crossing: from where to where, what, how many bytes, and why.

    Attributes
    ----------
    source, target : Region
        The regions that the bytes leave and enter.
    key : key or str
        A task's key; the URL of a source for a remote read.
    nbytes : int
        Estimated bytes.
    why : {"boundary", "remote-read", "result", "upload"}
        A value between partitions, stored bytes read from another region, a
        result on its way to the client, an array embedded in the graph.
    """

    source: Region
    target: Region
    key: Key
    nbytes: int
    why: Why


def sum_moved(transfers: Iterable[Transfer]) -> Moved:
    """Sum the bytes of transfers by pair of regions, sorted."""
    moved: dict[tuple[Region, Region], int] = {}
    for transfer in transfers:
        pair = (transfer.source, transfer.target)
        moved[pair] = moved.get(pair, 0) + transfer.nbytes
    return dict(sorted(moved.items()))


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
    """

    region: Region
    graph: HighLevelGraph = field(repr=False)
    outputs: tuple[Key, ...] = field(repr=False)
    sends: tuple[Key, ...] = field(repr=False)
    fetches: tuple[Boundary, ...] = field(repr=False)
    needs: Mapping[str, frozenset[str]] = field(repr=False)
    fixed: frozenset[Key] = field(repr=False)
    n_tasks: int | None
    n_layers: int
    upload_nbytes: int


class PlacementView(Mapping[Key, Region]):
    """Maps each key of the unoptimised graph to its region, without listing the keys.

    Parameters
    ----------
    graph : HighLevelGraph
        The graph placed.
    layers : mapping of str to Region, or to a mapping of key to Region
        The region of each layer, or of each key where a layer mixes regions.
    """

    def __init__(
        self, graph: HighLevelGraph, layers: Mapping[str, Region | Mapping[Key, Region]]
    ) -> None:
        self._graph = graph
        self._layers = layers

    def __getitem__(self, key: Key) -> Region:
        name = key[0] if isinstance(key, tuple) and key else key
        placed = self._layers.get(name) if isinstance(name, str) else None
        if placed is not None and (found := self._look_up(placed, str(name), key)) is not None:
            return found
        for name, placed in self._layers.items():
            if (found := self._look_up(placed, name, key)) is not None:
                return found
        raise KeyError(key)

    def _look_up(
        self, placed: Region | Mapping[Key, Region], layer: str, key: Key
    ) -> Region | None:
        if not isinstance(placed, Region):
            return placed.get(key)
        return placed if key in self._graph.layers[layer] else None

    def __iter__(self) -> Iterator[Key]:
        for name, placed in self._layers.items():
            yield from self._graph.layers[name] if isinstance(placed, Region) else placed

    def __len__(self) -> int:
        return sum(
            len(self._graph.layers[name]) if isinstance(placed, Region) else len(placed)
            for name, placed in self._layers.items()
        )

    def __repr__(self) -> str:
        return f"<PlacementView of {len(self._layers)} layers>"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Plan:
    """What will run where, which bytes cross between regions, and what they cost.

    Made by :func:`xr_locality.plan`; nothing has been started or read. Money
    shown comes from the very prices that the placement kept least.

    Attributes
    ----------
    regions : tuple of Region
        Where tasks run.
    sources : tuple of Source
        What is read, and from which region.
    placement : mapping of key to Region
        Over the keys of the unoptimised graph.
    transfers : tuple of Transfer
        Everything that crosses between regions.
    usd, seconds : float
        Cost of the transfers; seconds take the pairs of regions one after another.
    objective : {"usd", "bytes", "seconds"}
        What was kept least.
    lower_bound : float
        No placement costs less than this, in the objective's unit.
    gap : float
        How far the cost may be above the optimum, as a share of the cost; 0.0 is
        proven optimal.
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
    compare : callable
        Makes the baselines.
    budget : Budget or None
        What the plan had to stay within.
    session : Session or None
        What executes the plan.
    """

    regions: tuple[Region, ...]
    sources: tuple[Source, ...]
    placement: Mapping[Key, Region]
    transfers: tuple[Transfer, ...]
    usd: float
    seconds: float
    objective: str
    lower_bound: float
    gap: float
    unknowns: tuple[str, ...]
    client: Region
    prices_as_of: str
    partitions: tuple[Partition, ...]
    boundaries: tuple[Boundary, ...]
    bundle: Bundle
    costs: CostModel
    reads: Reads
    compare: Callable[[], Mapping[str, Baseline]]
    budget: Budget | None = None
    session: Any = None

    @cached_property
    def moved(self) -> Moved:
        """Bytes that cross, by pair of regions, source first."""
        return sum_moved(self.transfers)

    @cached_property
    def baselines(self) -> Mapping[str, Baseline]:
        """The same work done in other ways, by name.

        ``local`` pulls everything here, ``all in <region>`` runs everything in one
        region. Stored bytes come from listings of the stores, made on first use.
        """
        return self.compare()

    @property
    def nbytes_moved(self) -> int:
        """All bytes that cross between regions."""
        return sum(self.moved.values())

    def execute(self) -> Any:
        """Run the plan in its session.

        Returns
        -------
        object or tuple
            What was planned, computed: one object for one, a tuple for several.
        """
        return self.session.execute(self)

    def explain(self) -> str:
        """Describe the plan as text: who runs what, which bytes cross, at what cost."""
        from xr_locality.plan.text import explain

        return explain(self)

    def to_dict(self) -> dict[str, Any]:
        """Make a JSON-ready summary, aggregated by region and by crossing."""
        from xr_locality.plan.summary import summarise

        return summarise(self).to_dict()

    def plot(self, ax: Any = None) -> Any:
        """Draw the regions and the bytes between them with matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; new axes if not given.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed (extra ``plot``).
        """
        from xr_locality.plan.plot import plot

        return plot(self, ax=ax)

    def __repr__(self) -> str:
        shown = headline(
            n_regions=len(self.regions),
            n_boundaries=len(self.boundaries),
            nbytes_moved=self.nbytes_moved,
            cost_usd=self.usd,
        )
        return f"<Plan: {shown}>"

    def __str__(self) -> str:
        return self.explain()

    def _repr_html_(self) -> str:
        from xr_locality.plan.html import render

        return render(self)
