"""State a graph as a placement problem: tasks, values, and where things lie as numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from dask.highlevelgraph import MaterializedLayer
from numpy.typing import NDArray

from xr_locality.compat.dask_graph import is_barrier, is_barrier_type
from xr_locality.graph.task_table import LayerTasks, Structure
from xr_locality.placement.problem import PlacementProblem, Prices
from xr_locality.plan.read_estimates import Reading, Reads
from xr_locality.regions.region import LOCAL, Region

__all__ = ["FormulatedProblem", "formulate"]

_Ints = NDArray[np.int64]
_Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FormulatedProblem:
    """A graph as a placement problem.

    Attributes
    ----------
    problem : PlacementProblem
        Its tasks are those of the structure that are no plain values, in their order.
    tasks : ndarray of int64, shape (n_placed,)
        Their numbers in the structure.
    node_of : ndarray of int64, shape (n_tasks,)
        For each task of the structure, its number in the problem; -1 for plain values.
    readings : tuple of Reading
        Who reads what.
    read_values : tuple of ndarray of int64
        For each reading, the value that stands for what each task reads.
    copies : mapping of int to tuple of int
        Places that stand for the nearest of several others: where replicas lie.
    contradictions : int
        Tasks that several sources keep in regions of which each is another.
    """

    problem: PlacementProblem
    tasks: _Ints
    node_of: _Ints
    readings: tuple[Reading, ...]
    read_values: tuple[_Ints, ...]
    copies: Mapping[int, tuple[int, ...]]
    contradictions: int = 0

    def priced(self, prices: Prices) -> Prices:
        """Let what has replicas cost what it costs from the nearest of them.

        Parameters
        ----------
        prices : Prices
            Between the problem's places.

        Returns
        -------
        Prices
        """
        if not self.copies:
            return prices
        objective, ties = prices.objective.copy(), prices.ties.copy()
        for place, members in self.copies.items():
            for target in range(len(objective)):
                costs = [
                    (int(prices.objective[each, target]), int(prices.ties[each, target]))
                    for each in members
                ]
                objective[place, target], ties[place, target] = min(costs)
            objective[place, place] = ties[place, place] = 0
        return replace(prices, objective=objective, ties=ties)


def formulate(
    reads: Reads,
    *,
    hosts: Mapping[Region, Region],
    regions: tuple[Region, ...],
    client: Region,
    remote_read: bool,
    listed: bool,
    chosen: Mapping[tuple[Region, ...], Region] = MappingProxyType({}),
    results_stay: bool = False,
) -> FormulatedProblem:
    """State a graph as a placement problem.

    Parameters
    ----------
    reads : Reads
        The graph's tasks, their sizes, and what they read.
    hosts : mapping of Region to Region
        The region that serves the data of each region.
    regions : tuple of Region
        Where tasks may run.
    client : Region
        Where results go, and what is embedded in the graph lies.
    remote_read : bool
        Whether another region's workers may read a source's stored bytes.
    listed : bool
        Whether to ask stores for what they hold.
    chosen : mapping of tuple of Region to Region, optional
        Where what lies in several regions is read, if it may be read in one alone, or
        may not leave it. By default where the original lies.
    results_stay : bool, optional
        Whether results stay where they are made.
    """
    # The client is a place of its own even in a region of ours: what a worker there has
    # been sent, the client has not.
    lying = {region for reading in reads.readings for region in reading.regions}
    real = (*dict.fromkeys([*regions, *sorted({*hosts, *lying})]), client)
    several = [each.regions for each in reads.readings if len(each.regions) > 1]
    copied = {each: len(real) + n for n, each in enumerate(dict.fromkeys(several))}
    places = (*real, *(each[0] for each in copied))
    structure = reads.structure
    values = structure.flags("values")
    tasks = (~values).nonzero()[0]
    node_of = np.where(values, -1, np.cumsum(~values) - 1)
    uses = _Uses(n_places=len(places))
    uses.add_tasks(structure, reads.sizes.nbytes, node_of, tasks)
    at_client = len(real) - 1
    uses.add_embedded(structure, reads.sizes.nbytes, node_of, at_client)
    if not results_stay:
        outputs = node_of[structure.outputs]
        uses.add_results(np.unique(outputs[outputs >= 0]), at_client)
    read_values = tuple(
        uses.add_reads(
            reads.of_tasks(reading, listed=listed),
            node_of[reading.tasks],
            copied.get(reading.regions, places.index(reading.region)),
        )
        for reading in reads.readings
    )
    pinned = _Pins(reads, hosts, places)
    pins = pinned.find(remote_read=remote_read, chosen=chosen)
    problem = uses.problem(
        places=places,
        n_regions=len(regions),
        n_tasks=len(tasks),
        pins=pins[tasks],
        units=_units(structure, node_of, len(tasks)),
    )
    return FormulatedProblem(
        problem=problem,
        tasks=tasks,
        node_of=node_of,
        readings=reads.readings,
        read_values=read_values,
        copies={
            place: tuple(real.index(each) for each in members) for members, place in copied.items()
        },
        contradictions=pinned.contradictions,
    )


@dataclass(slots=True, kw_only=True, eq=False)
class _Uses:
    """Gathers values, what makes them and what takes them."""

    n_places: int
    n_values: int = 0
    nbytes: list[_Ints] = field(default_factory=list)
    makers: list[_Ints] = field(default_factory=list)
    values: list[_Ints] = field(default_factory=list)
    takers: list[_Ints] = field(default_factory=list)

    def _add(self, nbytes: _Ints, makers: _Ints) -> _Ints:
        numbers = np.arange(self.n_values, self.n_values + len(nbytes))
        self.nbytes.append(np.maximum(nbytes, 1))
        self.makers.append(makers)
        self.n_values += len(nbytes)
        return numbers

    def _use(self, values: _Ints, takers: _Ints) -> None:
        self.values.append(values)
        self.takers.append(takers)

    def add_tasks(self, structure: Structure, nbytes: _Ints, node_of: _Ints, tasks: _Ints) -> None:
        """Add what tasks make: the value of each has the number of its task."""
        self._add(nbytes[tasks], np.arange(len(tasks)) + self.n_places)
        made = node_of[structure.made_by]
        of_tasks = made >= 0
        self._use(made[of_tasks], node_of[structure.taken_by[of_tasks]] + self.n_places)

    def add_embedded(
        self, structure: Structure, nbytes: _Ints, node_of: _Ints, client: int
    ) -> None:
        """Add arrays that the graph holds: they are sent along from the client."""
        held = ((node_of < 0) & (nbytes > 0)).nonzero()[0]
        if not held.size:
            return
        numbers = self._add(nbytes[held], np.full(len(held), client))
        value_of = np.full(structure.n_tasks, -1, dtype=np.int64)
        value_of[held] = numbers
        used = value_of[structure.made_by] >= 0
        self._use(
            value_of[structure.made_by[used]], node_of[structure.taken_by[used]] + self.n_places
        )
        for layer in structure.layers:
            for constant in layer.constants:
                if value_of[constant] >= 0:
                    takers = node_of[layer.start : layer.stop] + self.n_places
                    self._use(np.full(len(takers), value_of[constant]), takers)

    def add_results(self, nodes: _Ints, client: int) -> None:
        self._use(nodes, np.full(len(nodes), client))

    def add_reads(self, nbytes: _Ints, nodes: _Ints, place: int) -> _Ints:
        numbers = self._add(nbytes, np.full(len(nodes), place))
        self._use(numbers, nodes + self.n_places)
        return numbers

    def problem(
        self,
        *,
        places: tuple[Region, ...],
        n_regions: int,
        n_tasks: int,
        pins: _Ints,
        units: _Ints | None,
    ) -> PlacementProblem:
        return PlacementProblem(
            places=places,
            n_regions=n_regions,
            n_tasks=n_tasks,
            nbytes=_joined(self.nbytes),
            makers=_joined(self.makers),
            values=_joined(self.values),
            takers=_joined(self.takers),
            pins=pins,
            units=units,
        )


def _joined(arrays: list[_Ints]) -> _Ints:
    return np.concatenate(arrays).astype(np.int64)


class _Pins:
    """Finds the tasks that may run in one region only.

    What ``dask.annotate`` and sinks say wins over where data must stay: such a
    contradiction is refused later, with the source's name.
    """

    def __init__(
        self, reads: Reads, hosts: Mapping[Region, Region], places: tuple[Region, ...]
    ) -> None:
        self.reads = reads
        self.structure = reads.structure
        self.at = {region: places.index(host) for region, host in hosts.items()}
        self.unserved = {region for region, host in hosts.items() if not region.overlaps(host)}
        self.pins = np.full(self.structure.n_tasks, -1, dtype=np.int64)
        self.contradictions = 0

    def find(self, *, remote_read: bool, chosen: Mapping[tuple[Region, ...], Region]) -> _Ints:
        survey = self.reads.survey
        for layer in self.structure.layers:
            numbers = np.arange(layer.start, layer.stop)
            if layer.name in survey.pins:
                self._pin(numbers, self.at[survey.pins[layer.name]])
            if (local := survey.local_keys.get(layer.name)) is not None:
                here = np.array([key in local for key in layer.keys_of(numbers)], dtype=bool)
                self._pin(self._run(layer, numbers[here]), self.at[LOCAL])
            if layer.futures is not None:
                held = numbers[layer.futures]
                keyed = survey.keys.get(layer.name, {})
                region = min(survey.layers[layer.name])
                for number, key in zip(held, layer.keys_of(held), strict=True):
                    self._pin(np.array([number]), self.at[keyed.get(key, (region,))[0]])
        for numbers, place in self._staying(chosen):
            there = self.pins[numbers]
            self.contradictions += int(((there >= 0) & (there != place)).sum())
            self._pin(numbers, place)
        for reading in self.reads.readings:
            # Where no endpoint serves the data, policy has said who reads them.
            unserved = self.unserved.issuperset(reading.regions)
            if not remote_read or unserved:
                region = chosen.get(reading.regions, reading.region)
                self._pin(reading.tasks, self.at[region])
        return self.pins

    def _run(self, layer: LayerTasks, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """Replace plain values, which do not run, by the tasks that take them."""
        if layer.values is None:
            return numbers
        held = layer.values[numbers - layer.start]
        values = numbers[held]
        takers: list[NDArray[Any]] = [
            self.structure.taken_by[np.isin(self.structure.made_by, values)]
        ]
        takers += [
            np.arange(each.start, each.stop)
            for each in self.structure.layers
            if not set(each.constants).isdisjoint(values.tolist())
        ]
        return np.unique(np.concatenate([numbers[~held], *takers]))

    def _pin(self, numbers: NDArray[np.intp], place: int) -> None:
        self.pins[numbers] = np.where(self.pins[numbers] >= 0, self.pins[numbers], place)

    def _staying(
        self, chosen: Mapping[tuple[Region, ...], Region]
    ) -> Iterator[tuple[NDArray[np.intp], int]]:
        """List tasks that sources keep in their region: readers, and who takes from these."""
        for reading in self.reads.readings:
            kept = {source.leaves for source in reading.sources}
            place = self.at[chosen.get(reading.regions, reading.region)]
            if "never" in kept:
                yield self._after(reading.tasks, steps=self.structure.n_tasks), place
            elif "reduced" in kept:
                yield self._after(reading.tasks, steps=1), place

    def _after(self, tasks: NDArray[np.intp], *, steps: int) -> NDArray[np.intp]:
        """Find tasks and what takes their values, so many steps on."""
        structure = self.structure
        found: _Flags = np.zeros(structure.n_tasks, dtype=bool)
        found[tasks] = True
        for _ in range(steps):
            further = structure.taken_by[found[structure.made_by]]
            if found[further].all():
                break
            found[further] = True
        return found.nonzero()[0]


def _units(structure: Structure, node_of: _Ints, n_tasks: int) -> _Ints | None:
    """Group each peer-to-peer barrier with the tasks before and after it."""
    units: _Ints | None = None
    n_units = 0
    for layer in structure.layers:
        if not isinstance(layer.layer, MaterializedLayer):
            continue
        kinds = set(map(type, layer.layer.mapping.values()))
        if not any(is_barrier_type(kind) for kind in kinds):
            continue
        numbers = np.arange(layer.start, layer.stop)
        for number, key in zip(numbers, layer.keys_of(numbers), strict=True):
            if is_barrier(layer.layer.mapping[key]):
                before = structure.made_by[structure.taken_by == number]
                after = structure.taken_by[structure.made_by == number]
                members = node_of[np.concatenate([[number], before, after])]
                members = members[members >= 0]
                units = np.full(n_tasks, -1, dtype=np.int64) if units is None else units
                # What two barriers share joins them.
                joined = np.unique(units[members])
                units[np.isin(units, joined[joined >= 0])] = n_units
                units[members] = n_units
                n_units += 1
    return units
