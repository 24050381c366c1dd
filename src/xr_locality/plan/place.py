"""Place a culled graph: whole layers where one region holds all they need, else keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dask.blockwise import Blockwise
from dask.highlevelgraph import MaterializedLayer
from dask.typing import Key

from xr_locality.graph import view
from xr_locality.graph.sizes import Size, SizeEstimator
from xr_locality.graph.view import CulledGraph, CulledLayer
from xr_locality.placement.problem import Cost, Placement, PlacementProblem
from xr_locality.placement.solve import solve
from xr_locality.plan.survey import Survey
from xr_locality.regions.model import Region

__all__ = ["Placed", "place", "signatures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where the tasks of a culled graph run.

    Attributes
    ----------
    layers : mapping of str to Region, or to a mapping of key to Region
        The region of each layer, or of each key where a layer mixes regions.
    values : frozenset of key
        Keys that hold plain values; each partition that uses one gets it.
    solution : Placement
        Of the keys that could not be placed by layers.
    sizes : mapping of key to Size
        Estimates of the values that were weighed.
    """

    layers: Mapping[str, Region | Mapping[Key, Region]]
    values: frozenset[Key]
    solution: Placement
    sizes: Mapping[Key, Size]


def signatures(
    names: Mapping[str, frozenset[str]], order: tuple[str, ...], located: Mapping[str, set[Region]]
) -> dict[str, frozenset[Region]]:
    """Gather the regions that each layer's ancestors, itself included, lie in.

    Parameters
    ----------
    names : mapping of str to frozenset of str
        For each layer, those it depends on.
    order : tuple of str
        Layers, each after those it depends on.
    located : mapping of str to set of Region
        Regions of what a layer itself holds.

    Returns
    -------
    dict of str to frozenset of Region
        Empty for layers that depend on nothing located.
    """
    gathered: dict[str, frozenset[Region]] = {}
    for name in order:
        regions = set(located.get(name, ()))
        for dependency in names[name]:
            regions |= gathered.get(dependency, frozenset())
        gathered[name] = frozenset(regions)
    return gathered


def place(
    graph: CulledGraph,
    survey: Survey,
    *,
    hosts: Mapping[Region, Region],
    usable: tuple[Region, ...],
    outputs: frozenset[Key],
    client: Region,
    estimator: SizeEstimator,
    cost: Cost,
    nbytes_cost: Cost,
) -> Placed:
    """Decide where each task of a graph over several regions runs.

    Parameters
    ----------
    graph : CulledGraph
        What the outputs need.
    survey : Survey
        Where the data lie.
    hosts : mapping of Region to Region
        The region that serves the data of each region.
    usable : tuple of Region
        Where tasks may run.
    outputs : frozenset of key
        Results.
    client : Region
        Where results go.
    estimator : SizeEstimator
        Sizes of values.
    cost, nbytes_cost : callable
        Price ``(source, target, nbytes)`` by the objective, and by bytes alone.

    Returns
    -------
    Placed
    """
    placer = _Placer(graph, survey, hosts, outputs, estimator)
    placer.divide()
    problem, order = placer.problem(usable, client)
    solution = solve(problem, cost=cost, nbytes_cost=nbytes_cost)
    placed = dict(zip(order, solution.regions, strict=True))
    layers: dict[str, Region | Mapping[Key, Region]] = dict(placer.whole)
    for culled in placer.mixed:
        layers[culled.name] = {key: placed[key] for key in culled.dependencies if key in placed}
    return Placed(
        layers=layers,
        values=frozenset(placer.values),
        solution=solution,
        sizes={key: placer.sizes[key] for key in order},
    )


@dataclass(slots=True)
class _Placer:
    graph: CulledGraph
    survey: Survey
    hosts: Mapping[Region, Region]
    outputs: frozenset[Key]
    estimator: SizeEstimator
    #: Layers placed as wholes.
    whole: dict[str, Region] = field(default_factory=dict)
    #: Layers whose keys are placed one by one.
    mixed: list[CulledLayer] = field(default_factory=list)
    values: set[Key] = field(default_factory=set)
    #: Region beside which a value that holds a store must be read.
    stores: dict[Key, Region] = field(default_factory=dict)
    layer_of: dict[Key, str] = field(default_factory=dict)
    sizes: dict[Key, Size] = field(default_factory=dict)

    def divide(self) -> None:
        """Tell layers that can be placed as wholes from those that mix regions."""
        located = {
            name: {self.hosts[region] for region in regions}
            for name, regions in self.survey.layers.items()
        }
        for name, pin in self.survey.pins.items():
            located[name] = located.get(name, set()) | {self.hosts[pin]}
        order = tuple(culled.name for culled in self.graph.layers)
        signature = signatures(self.graph.dependencies, order, located)
        wanted = self._wanted_by(signature)
        for culled in self.graph.layers:
            for key in culled.dependencies:
                self.layer_of[key] = culled.name
            if self._holds_values(culled):
                continue
            regions = signature[culled.name] or wanted.get(culled.name, frozenset())
            if len(regions) == 1 and culled.name not in self.survey.pins:
                self.whole[culled.name] = next(iter(regions))
            else:
                self.mixed.append(culled)

    def _wanted_by(
        self, signature: Mapping[str, frozenset[Region]]
    ) -> dict[str, frozenset[Region]]:
        """Gather the regions of the layers that take a layer which lies nowhere itself."""
        wanted: dict[str, frozenset[Region]] = {}
        for culled in reversed(self.graph.layers):
            regions = signature[culled.name] or wanted.get(culled.name, frozenset())
            for dependency in self.graph.dependencies[culled.name]:
                if not signature[dependency]:
                    wanted[dependency] = wanted.get(dependency, frozenset()) | regions
        return wanted

    def _holds_values(self, culled: CulledLayer) -> bool:
        """Note a layer's plain values; whether it holds nothing else.

        Futures are tasks: they stay where they are.
        """
        if not isinstance(culled.layer, MaterializedLayer):
            return False
        tasks = culled.layer.mapping
        values = {
            key
            for key in culled.dependencies
            if view.is_value(tasks[key]) and not view.is_future(tasks[key])
        }
        self.values |= values
        regions = self.survey.layers.get(culled.name, frozenset())
        for key in values:
            if (region := self._located(culled.name, key, regions)) is not None:
                self.stores[key] = region
        return len(values) == len(culled.dependencies)

    def _located(self, layer: str, key: Key, regions: frozenset[Region]) -> Region | None:
        keyed = self.survey.keys.get(layer)
        if keyed is not None:
            return self.hosts[keyed[key]] if key in keyed else None
        return self.hosts[min(regions)] if regions else None

    def problem(
        self, usable: tuple[Region, ...], client: Region
    ) -> tuple[PlacementProblem, list[Key]]:
        """State the mixed layers' keys, and what they take, as numbers."""
        order: list[Key] = []
        position: dict[Key, int] = {}
        inputs: list[tuple[int, ...]] = []
        pins: dict[int, Region] = {}
        barriers: list[Key] = []

        def add(key: Key, layer: str, takes: tuple[int, ...]) -> None:
            position[key] = len(order)
            order.append(key)
            inputs.append(takes)
            self.sizes[key] = self.estimator.of(layer, key)

        for culled in self.mixed:
            for key in _in_order(culled):
                if key in self.values:
                    continue
                takes = sorted(
                    (d for d in culled.dependencies[key] if d not in self.values), key=repr
                )
                for dependency in takes:
                    if dependency not in position and dependency in self.layer_of:
                        layer = self.layer_of[dependency]
                        add(dependency, layer, ())
                        if layer in self.whole:
                            pins[position[dependency]] = self.whole[layer]
                add(key, culled.name, tuple(position[d] for d in takes if d in position))
                if (region := self._pin(culled, key)) is not None:
                    pins[position[key]] = region
                # Culling has made the tasks of all layers but Blockwise ones already.
                if not isinstance(culled.layer, Blockwise) and view.is_barrier(culled.layer[key]):
                    barriers.append(key)
        mixed = {culled.name for culled in self.mixed}
        problem = PlacementProblem(
            regions=usable,
            nbytes=[self.sizes[key].nbytes for key in order],
            inputs=inputs,
            pins=pins,
            units=_units(barriers, position, inputs),
            results=frozenset(
                position[key]
                for key in order
                if key in self.outputs and self.layer_of[key] in mixed
            ),
            client=client,
        )
        return problem, order

    def _pin(self, culled: CulledLayer, key: Key) -> Region | None:
        if culled.name in self.survey.pins:
            return self.hosts[self.survey.pins[culled.name]]
        for dependency in sorted(culled.dependencies[key], key=repr):
            if dependency in self.stores:
                return self.stores[dependency]
        regions = self.survey.layers.get(culled.name, frozenset())
        return self._located(culled.name, key, regions) if regions else None


def _in_order(culled: CulledLayer) -> list[Key]:
    """Order a layer's keys so that each comes after those of the layer that it takes."""
    own = culled.dependencies
    if not any(dependency in own for takes in own.values() for dependency in takes):
        return sorted(own, key=repr)
    order: list[Key] = []
    placed: set[Key] = set()
    for root in sorted(own, key=repr):
        stack = [root]
        while stack:
            key = stack[-1]
            missing = [d for d in own[key] if d in own and d not in placed]
            if key in placed:
                stack.pop()
            elif missing:
                stack.extend(sorted(missing, key=repr))
            else:
                placed.add(key)
                order.append(stack.pop())
    return order


def _units(
    barriers: list[Key], position: Mapping[Key, int], inputs: list[tuple[int, ...]]
) -> list[tuple[int, ...]]:
    """Group each peer-to-peer barrier with the tasks before and after it."""
    units: list[tuple[int, ...]] = []
    for key in barriers:
        barrier = position[key]
        after = [task for task, takes in enumerate(inputs) if barrier in takes]
        units.append(tuple(sorted({barrier, *inputs[barrier], *after})))
    return units
