"""How many stored bytes of each source a graph reads, and which tasks read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key
from numpy.typing import NDArray

from xr_locality.graph.dependencies import structure_of
from xr_locality.graph.layers import cuts_blocks, writes_chunks
from xr_locality.graph.overlap import Overlap
from xr_locality.graph.sizes.estimator import SizeEstimator
from xr_locality.graph.task_table import LayerTasks, Structure
from xr_locality.graph.tasks import in_memory_nbytes
from xr_locality.plan.survey import Source, Survey
from xr_locality.regions.region import LOCAL, Region
from xr_locality.runtime.collector import collector_paused

__all__ = ["Reading", "Reads"]

#: What stored arrays are compressed by at most, as far as plans look: a source that would
#: not be read from afar even if it were stored this small is not listed.
MOST_COMPRESSED = 100


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """The tasks that read some sources of one region.

    Attributes
    ----------
    region : Region
        Where the sources lie.
    layer : str
        The layer that holds them, or the node that stands for them.
    sources : tuple of Source
        Those that the layer holds; almost always one.
    tasks : ndarray of int, shape (n_tasks,)
        Numbers of the tasks, in their structure.
    """

    region: Region
    layer: str
    sources: tuple[Source, ...]
    tasks: NDArray[np.intp]

    @property
    def regions(self) -> tuple[Region, ...]:
        """Where the same bytes lie: the region, and those of replicas of all the sources."""
        regions = {source.regions for source in self.sources}
        return regions.pop() if len(regions) == 1 else (self.region,)


@dataclass(eq=False)
class Reads:
    """Estimates the stored bytes that a graph reads of each source, on demand.

    The share of an array that is read comes from the graph, its stored bytes
    from a listing of the store, made only when somebody asks: a plan in which
    nothing is read from afar lists nothing.

    Parameters
    ----------
    graph : HighLevelGraph
        Not optimised.
    outputs : list of key
        Results.
    survey : Survey
        What the layers hold.
    estimator : SizeEstimator
        Sizes of what tasks make.
    """

    graph: HighLevelGraph
    outputs: list[Key]
    survey: Survey
    estimator: SizeEstimator
    #: Sources whose stored bytes are only a guess, and why.
    guesses: dict[str, str] = field(default_factory=dict)
    _nbytes: dict[int, int] = field(default_factory=dict)

    @cached_property
    def structure(self) -> Structure:
        """The tasks that the results need."""
        return structure_of(self.graph, self.outputs)

    @cached_property
    def sizes(self) -> SizedTasks:
        """Bytes of each task's value."""
        return size_tasks(self.structure, self.estimator)

    @cached_property
    def readings(self) -> tuple[Reading, ...]:
        """Which tasks read which sources."""
        return tuple(_readings(self.structure, self.survey))

    @cached_property
    def _scattered(self) -> frozenset[str]:
        """Layers of which one object lies in several regions."""
        keys = self.survey.keys
        return frozenset(
            name
            for name, regions in self.survey.layers.items()
            if len(regions) > 1
            and (name not in keys or any(len(each) > 1 for each in keys[name].values()))
        )

    def nbytes(self, source: Source) -> int:
        """Estimate the stored bytes that the graph reads of one source."""
        # By identity: two services may have a store of the same URL.
        if id(source) not in self._nbytes:
            self._nbytes[id(source)] = sum(
                int(self.of_tasks(reading)[:].sum()) // len(reading.sources)
                for reading in self.readings
                if any(each is source for each in reading.sources)
            )
        return self._nbytes[id(source)]

    def by_region(self) -> dict[Region | None, int]:
        """Sum the stored bytes read by the region that they lie in."""
        total: dict[Region | None, int] = {}
        for source in self.survey.sources:
            total[source.region] = total.get(source.region, 0) + self.nbytes(source)
        return total

    def by_regions(self) -> dict[tuple[Region, ...], int]:
        """Sum the stored bytes read by the regions that they, and their replicas, lie in."""
        total: dict[tuple[Region, ...], int] = {}
        for source in self.survey.sources:
            total[source.regions] = total.get(source.regions, 0) + self.nbytes(source)
        return total

    def of_tasks(self, reading: Reading, *, listed: bool = True) -> NDArray[np.int64]:
        """Estimate the stored bytes that each of some tasks reads.

        Parameters
        ----------
        reading : Reading
            The tasks.
        listed : bool
            Whether to ask the stores. If not, this is the least that they may hold.

        Returns
        -------
        ndarray of int64, shape (n_tasks,)
            At least 1.
        """
        made = self.sizes.nbytes[reading.tasks].astype(np.float64)
        if not self._cuts(reading):
            # What they make says nothing of what they read: all of it, as far as is known.
            whole = [self._whole(source, reading) for source in reading.sources]
            if None not in whole:
                made = np.full(len(made), sum(each or 0 for each in whole) / len(made))
        shares = [self._share(source, reading, made, listed=listed) for source in reading.sources]
        stored = made * float(np.mean(shares))
        nbytes: NDArray[np.int64] = np.maximum(np.rint(stored), 1).astype(np.int64)
        return nbytes

    def _share(
        self, source: Source, reading: Reading, made: NDArray[np.float64], *, listed: bool
    ) -> float:
        """Bytes stored of a source for each byte that its tasks make of it."""
        part = self._part(source, reading)
        if not listed:
            return part / MOST_COMPRESSED
        if part < 1:
            self.guesses[f"part of {source.url}"] = (
                f"which chunks lie at {source.url}: tasks are taken to read all places alike"
            )
        found = source.layers[reading.layer]
        sizes = [each.stored_nbytes() for each in found]
        if not sizes or None in sizes:
            self.guesses[source.url] = (
                f"the stored bytes of {source.url}: taken as the size in memory"
            )
            return part
        stored = sum(size for size in sizes if size is not None)
        # Nothing is read twice, so what is made is no more than the whole; of a source of
        # which no size in memory is known, all is read.
        return stored / max(self._whole(source, reading) or 0.0, float(made.sum()), 1.0)

    def _part(self, source: Source, reading: Reading) -> float:
        """Part of what each task reads that lies here: all, if nothing lies elsewhere."""
        if reading.layer not in self._scattered:
            return 1.0
        found = [each.layers.get(reading.layer, ()) for each in self.survey.sources]
        sizes = [each.array_nbytes for group in found for each in group]
        here = [each.array_nbytes for each in source.layers[reading.layer]]
        known = [size for size in sizes if size]
        if None in sizes or not known:
            return max(len(here), 1) / max(len(sizes), 1)
        return sum(size for size in here if size) / sum(known)

    def _whole(self, source: Source, reading: Reading) -> float | None:
        """Bytes of the whole arrays, as the tasks that read them decode their values."""
        found = source.layers[reading.layer]
        part = self._part(source, reading)
        if not found or not part or any(each.array_nbytes is None for each in found):
            return None
        decoded = self._itemsize(reading)
        here = sum(
            each.array_nbytes * (decoded / each.itemsize if decoded and each.itemsize else 1.0)
            for each in found
            if each.array_nbytes is not None
        )
        return here / part

    def _cuts(self, reading: Reading) -> bool:
        """Whether the tasks that read cut blocks out of an array, and do no more."""
        return cuts_blocks(self.structure.layer_of(int(reading.tasks[0])).layer)

    def _itemsize(self, reading: Reading) -> int | None:
        """Bytes of one value that reading tasks make; None where their layer does not say."""
        first = self.structure.layer_of(int(reading.tasks[0]))
        dtype = (first.layer.collection_annotations or {}).get("dtype")
        return None if dtype is None else np.dtype(dtype).itemsize

    def written(self) -> dict[Region, int]:
        """Sum the bytes that tasks write to stores, as values, by the stores' regions."""
        total: dict[Region, int] = {}
        structure = self.structure
        for layer in structure.layers:
            if writes_chunks(layer.layer):
                region = self.survey.pins[layer.name]
                writing = (structure.taken_by >= layer.start) & (structure.taken_by < layer.stop)
                chunks = np.unique(structure.made_by[writing])
                nbytes = int(self.sizes.nbytes[chunks].sum())
                total[region] = total.get(region, 0) + nbytes
        return total


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SizedTasks:
    """Bytes of each task's value.

    Attributes
    ----------
    nbytes : ndarray of int64, shape (n_tasks,)
        Of a task's value; of an array that the graph holds; 0 for stores.
    guessed : ndarray of bool, shape (n_tasks,)
        Which are no more than a guess.
    why : mapping of str to str
        Why, by the names of layers.
    """

    nbytes: NDArray[np.int64]
    guessed: NDArray[np.bool_]
    why: dict[str, str]


@collector_paused()
def size_tasks(structure: Structure, estimator: SizeEstimator) -> SizedTasks:
    """Estimate the bytes of all tasks' values, layer by layer."""
    nbytes = np.zeros(structure.n_tasks, dtype=np.int64)
    guessed = np.zeros(structure.n_tasks, dtype=bool)
    why: dict[str, str] = {}
    for layer in structure.layers:
        numbers = np.arange(layer.start, layer.stop)
        if layer.values is not None:
            held = numbers[layer.values]
            nbytes[held] = [in_memory_nbytes(layer.layer[key]) for key in layer.keys_of(held)]
            numbers = numbers[~layer.values]
        if not numbers.size:
            continue
        if layer.grid is not None:
            sizes = estimator.of_blocks(layer.name, layer.blocks(numbers))
        elif isinstance(layer.names, Overlap):
            sizes = estimator.of_overlap(layer.name, layer.names, layer.positions)
        else:
            sizes = estimator.of_keys(layer.name, layer.keys_of(numbers))
        nbytes[numbers] = sizes.nbytes
        if sizes.guessed is not None:
            guessed[numbers] = sizes.guessed
            why[layer.name] = sizes.why or "unknown"
    return SizedTasks(nbytes=nbytes, guessed=guessed, why=why)


def _readings(structure: Structure, survey: Survey) -> Iterator[Reading]:
    order = np.argsort(structure.made_by, kind="stable")
    starts = np.searchsorted(structure.made_by[order], np.arange(structure.n_tasks + 1))
    for layer in structure.layers:
        for region, numbers in _located(layer, survey):
            sources = tuple(
                source
                for source in survey.sources
                if layer.name in source.layers and (source.region or LOCAL) == region
            )
            if not sources:
                continue
            tasks = _readers(structure, layer, numbers, order, starts)
            if tasks.size:
                yield Reading(region=region, layer=layer.name, sources=sources, tasks=tasks)


def _located(layer: LayerTasks, survey: Survey) -> Iterator[tuple[Region, NDArray[np.intp]]]:
    """Tell by region which of a layer's tasks and values hold a store."""
    regions = survey.layers.get(layer.name, frozenset())
    numbers = np.arange(layer.start, layer.stop)
    keyed = survey.keys.get(layer.name)
    if keyed is None:
        for region in sorted(regions):
            yield region, numbers
        return
    where = [keyed.get(key, ()) for key in layer.keys_of(numbers)]
    for region in sorted(regions):
        yield region, numbers[np.array([region in each for each in where], dtype=bool)]


def _readers(
    structure: Structure,
    layer: LayerTasks,
    numbers: NDArray[np.intp],
    order: NDArray[np.intp],
    starts: NDArray[np.intp],
) -> NDArray[np.intp]:
    """Find the tasks that read: those that hold a store, or take a value that is one."""
    if layer.values is None and layer.futures is None:
        return numbers
    local = numbers - layer.start
    values = np.zeros(len(layer), dtype=bool) if layer.values is None else layer.values
    idle = values if layer.futures is None else values | layer.futures
    held = numbers[values[local]]
    found = [numbers[~idle[local]]]
    found += [structure.taken_by[order[starts[each] : starts[each + 1]]] for each in held]
    constants = set(held.tolist())
    found += [
        np.arange(taker.start, taker.stop)
        for taker in structure.layers
        if constants.intersection(taker.constants)
    ]
    return np.unique(np.concatenate(found)).astype(np.intp)
