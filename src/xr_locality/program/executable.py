"""Programs: plans in the form that is sent to schedulers, one region or many.

A program refers to its plan, which stays as it was shown; rewriters replace its graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from dask.highlevelgraph import HighLevelGraph, Layer
from dask.typing import Key

from xr_locality.graph.collections import Bundle, Part, has_expression
from xr_locality.graph.layers import ancestors
from xr_locality.plan.model import Partition, PlanRecord
from xr_locality.regions.region import Region

__all__ = ["OutputGroup", "Program", "RegionProgram", "Rewriter", "replace_layers"]

#: Returns the graph to send in place of a region's graph: the same where nothing changes.
Rewriter: TypeAlias = Callable[[Region, HighLevelGraph], HighLevelGraph]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutputGroup:
    """Outputs of a region that dask optimises together.

    Attributes
    ----------
    keys : tuple of key
        The outputs.
    layers : frozenset of str
        The layers that make them.
    optimizer : callable or None
        Optimises the graph of these outputs, as the collection's ``__dask_optimize__``.
    expression : dask expression or None
        A DataFrame's own form; it is optimised as such, unless its graph was rewritten.
    """

    keys: tuple[Key, ...]
    layers: frozenset[str]
    optimizer: Callable[..., Any] | None
    expression: Any = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegionProgram:
    """The tasks that one region is sent.

    Attributes
    ----------
    partition : Partition
        The plan's part: outputs, boundary values to send and to fetch.
    graph : HighLevelGraph
        The partition's graph, rewritten.
    groups : tuple of OutputGroup
        The outputs by how dask optimises them. Empty if boundary values cross: the
        partition is then optimised in one piece.
    has_references : bool
        Whether tasks take objects of this process by reference, so that only a cluster
        within this process can run them.
    """

    partition: Partition
    graph: HighLevelGraph = field(repr=False)
    groups: tuple[OutputGroup, ...] = field(repr=False)
    has_references: bool = False

    @property
    def region(self) -> Region:
        """The region that runs the tasks."""
        return self.partition.region

    def graph_of(self, group: OutputGroup) -> HighLevelGraph:
        """Return the layers that a group of outputs needs; all layers for the only group."""
        if len(self.groups) == 1:
            return self.graph
        # In the graph's order: which tasks of a chain dask fuses depends on it.
        needed = ancestors(self.graph, group.layers)
        return HighLevelGraph(
            {name: layer for name, layer in self.graph.layers.items() if name in needed},
            {name: needs for name, needs in self.graph.dependencies.items() if name in needed},
        )

    def is_rewritten(self, group: OutputGroup) -> bool:
        """Return whether a layer that a group of outputs needs was replaced."""
        before = self.partition.graph.layers
        needed = ancestors(self.graph, group.layers)
        return any(self.graph.layers[name] is not before.get(name) for name in needed)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program:
    """What is sent to the schedulers of all regions.

    Attributes
    ----------
    plan : PlanRecord
        The plan that the program carries out.
    regions : tuple of RegionProgram
        One for each region of the plan.
    """

    plan: PlanRecord
    regions: tuple[RegionProgram, ...]

    @classmethod
    def of(cls, plan: PlanRecord) -> Program:
        """Make the program whose graphs are the plan's own."""
        alone = len(plan.partitions) == 1
        return cls(
            plan=plan,
            regions=tuple(
                RegionProgram(
                    partition=partition,
                    graph=partition.graph,
                    groups=tuple(_groups(plan.bundle)) if alone else (),
                )
                for partition in plan.partitions
            ),
        )

    def rewrite(self, rewriter: Rewriter) -> Program:
        """Return the program with each region's graph replaced by a rewriter's."""
        return replace(
            self,
            regions=tuple(
                replace(each, graph=rewriter(each.region, each.graph)) for each in self.regions
            ),
        )

    def region(self, region: Region) -> RegionProgram:
        """Return the program of one region."""
        return next(each for each in self.regions if each.region == region)


def replace_layers(
    graph: HighLevelGraph, names: Container[str], change: Callable[[str, Layer], Layer]
) -> HighLevelGraph:
    """Replace some layers of a graph.

    Parameters
    ----------
    graph : HighLevelGraph
        The layers may be symbolic.
    names : container of str
        The layers to change; names that the graph lacks are ignored.
    change : callable
        Takes a layer's name and the layer, and returns the layer to put in its place.

    Returns
    -------
    HighLevelGraph
        The same graph if no layer was replaced.
    """
    layers = {
        name: change(name, layer) if name in names else layer
        for name, layer in graph.layers.items()
    }
    if all(layers[name] is layer for name, layer in graph.layers.items()):
        return graph
    return HighLevelGraph(layers, graph.dependencies)


def _groups(bundle: Bundle) -> Iterator[OutputGroup]:
    """Group outputs as dask itself does: collections with one optimiser go together."""
    alike: dict[Any, list[Part]] = {}
    for part in bundle.parts:
        optimizer = getattr(part.collection, "__dask_optimize__", None)
        if has_expression(part.collection):
            yield OutputGroup(
                keys=tuple(part.flat_keys()),
                layers=frozenset(part.layers),
                optimizer=optimizer,
                expression=part.collection.expr,
            )
        else:
            alike.setdefault(optimizer, []).append(part)
    for optimizer, parts in alike.items():
        yield OutputGroup(
            keys=tuple(dict.fromkeys(key for part in parts for key in part.flat_keys())),
            layers=frozenset(name for part in parts for name in part.layers),
            optimizer=optimizer,
        )
