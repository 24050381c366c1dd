"""Rewriter of graphs that count the stored bytes that zarr reads on workers."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dask.highlevelgraph import Layer

from xr_locality.execution.remote.counting_store import CountingStore
from xr_locality.execution.ship import ship
from xr_locality.graph.layers import embedded_objects, holds_futures, is_symbolic, writes_chunks
from xr_locality.program.executable import Program, replace_layers
from xr_locality.program.retarget import swap
from xr_locality.regions.region import LOCAL, Region
from xr_locality.regions.store import Store
from xr_locality.sources.search import find_sources

__all__ = ["CountedReads", "count_reads"]

logger = logging.getLogger(__name__)

#: Layers with more tasks are left as they are: going through them takes too long.
_MOST_TASKS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedReads:
    """The stored bytes that workers count, and those that they do not.

    Attributes
    ----------
    regions : frozenset of Region
        Regions that read something, and count all that they read.
    uncounted : frozenset of (Region, Region)
        Pairs, store first, between which bytes are read that no worker counts.
    """

    regions: frozenset[Region]
    uncounted: frozenset[tuple[Region, Region]]


class _Counting(CountingStore):
    """A :class:`CountingStore` that brings its code along where it is sent."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (ship(CountingStore(self._store, self._label)),)


def count_reads(program: Program, run: str) -> tuple[Program, CountedReads]:
    """Make the graphs of a program count the stored bytes that they read.

    Arrays of zarr's are counted, whichever store they read; other files are not.

    Parameters
    ----------
    program : Program
        What is about to run, with the replicas that it reads.
    run : str
        Name under which workers report what they have counted.

    Returns
    -------
    program : Program
        To be sent.
    counted : CountedReads
        Where it counts.
    """
    plan = program.plan
    homes: dict[Store, Region] = {}
    for source in plan.sources:
        homes.update({found.group: source.region or LOCAL for found in source.found})
        homes.update({copy.store: copy.region for copy in source.replicas})
    names = {name for source in plan.sources for name in source.layers}
    swappers = {
        each.region: _Swapper(run=run, homes=homes, target=each.region) for each in program.regions
    }
    program = program.rewrite(
        lambda region, graph: replace_layers(graph, names, swappers[region].swap_layer)
    )
    uncounted = frozenset(pair for swapper in swappers.values() for pair in swapper.uncounted)
    reading = {region for region, swapper in swappers.items() if swapper.counts}
    regions = frozenset(reading - {target for _, target in uncounted})
    return program, CountedReads(regions=regions, uncounted=uncounted)


@dataclass(slots=True, kw_only=True, eq=False)
class _Swapper:
    """Puts counting arrays into the layers that one region is sent."""

    run: str
    homes: Mapping[Store, Region]
    target: Region
    #: Whether anything is counted, and from where to where something is not.
    counts: bool = False
    uncounted: set[tuple[Region, Region]] = field(default_factory=set)
    #: What is counted in the layer that is being swapped.
    _counted: set[Store] = field(default_factory=set)

    def swap_layer(self, name: str, layer: Layer) -> Layer:
        """Return the layer whose arrays count; the same where none can."""
        if holds_futures(layer) or writes_chunks(layer):
            return layer
        held = {found.group for found in find_sources(embedded_objects(layer))}
        self._counted = set()
        swapped = layer
        if is_symbolic(layer) or len(layer) <= _MOST_TASKS:
            try:
                swapped = swap(layer, self._copy_of)
            except Exception as error:  # noqa: BLE001  # A layer may hold anything.
                logger.info("Reads of layer %r are not counted: %s", name, type(error).__name__)
                self._counted = set()
        self.counts = self.counts or bool(self._counted)
        self.uncounted |= {(self._home(group), self.target) for group in held - self._counted}
        return swapped if self._counted else layer

    def _home(self, group: Store) -> Region:
        """Say where a store is; in the target itself if nothing crosses on the way."""
        home = self.homes.get(group, LOCAL)
        return self.target if home.overlaps(self.target) else home

    def _copy_of(self, array: Any) -> Any:
        """Make an array that counts; an array of another or unknown kind stays."""
        import zarr
        from xarray.backends.common import BackendArray
        from zarr.storage import FsspecStore, LocalStore, ObjectStore, StorePath

        if not isinstance(array, zarr.Array):
            # Arrays in files are kept as they are: some do not pickle, some are large.
            return array if isinstance(array, BackendArray) and _in_file(array) else None
        groups = {found.group for found in find_sources([array])}
        store = array.store_path.store
        if len(groups) != 1 or not isinstance(store, FsspecStore | LocalStore | ObjectStore):
            return array
        (group,) = groups
        if group not in self.homes:
            return array
        label = self.run, str(self._home(group)), str(self.target)
        inner = array._async_array
        copy = type(array)(
            type(inner)(
                metadata=inner.metadata,
                store_path=StorePath(_Counting(store, label), array.store_path.path),
                config=getattr(inner, "config", None) or inner._config,
            )
        )
        self._counted.add(group)
        return copy


def _in_file(array: Any) -> bool:
    return hasattr(array, "variable_name")
