"""How many stored bytes of each source a graph reads."""

from __future__ import annotations

from dataclasses import dataclass, field

from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from xr_locality.graph import view
from xr_locality.graph.sizes import SizeEstimator
from xr_locality.plan.survey import Source, Survey
from xr_locality.regions.model import Region

__all__ = ["Reads"]


@dataclass(slots=True)
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
        Sizes of what reading tasks make.
    culled : view.CulledGraph, optional
        The graph culled to the outputs, if it has been made already.
    """

    graph: HighLevelGraph
    outputs: list[Key]
    survey: Survey
    estimator: SizeEstimator
    culled: view.CulledGraph | None = None
    #: Sources whose stored bytes are only a guess, and why.
    guesses: dict[str, str] = field(default_factory=dict)
    _nbytes: dict[int, int] = field(default_factory=dict)

    def nbytes(self, source: Source) -> int:
        """Estimate the stored bytes that the graph reads of one source."""
        # By identity: two services may have a store of the same URL.
        if id(source) not in self._nbytes:
            self._nbytes[id(source)] = self._estimate(source)
        return self._nbytes[id(source)]

    def by_region(self) -> dict[Region | None, int]:
        """Sum the stored bytes read by the region that they lie in."""
        total: dict[Region | None, int] = {}
        for source in self.survey.sources:
            total[source.region] = total.get(source.region, 0) + self.nbytes(source)
        return total

    def written(self) -> dict[Region, int]:
        """Sum the bytes that tasks write to stores, as values, by the stores' regions."""
        total: dict[Region, int] = {}
        culled = self._cull()
        makers = {key: layer.name for layer in culled.layers for key in layer.dependencies}
        for layer in culled.layers:
            if view.writes(layer.layer):
                region = self.survey.pins[layer.name]
                chunks = {key for takes in layer.dependencies.values() for key in takes}
                total[region] = total.get(region, 0) + sum(
                    self.estimator.of(makers[key], key).nbytes for key in chunks
                )
        return total

    def _cull(self) -> view.CulledGraph:
        if self.culled is None:
            self.culled = view.cull(self.graph, self.outputs)
        return self.culled

    def _estimate(self, source: Source) -> int:
        in_memory, read = source.array_nbytes, self._read(source)
        if not read:
            # Layers that the results need may hold it, and none of their keys read it.
            return 0
        stored = source.nbytes
        if stored is None:
            self.guesses[source.url] = (
                f"the stored bytes of {source.url}: taken as the size in memory"
            )
            return read
        if not in_memory:
            return stored
        return round(stored * min(1.0, read / in_memory))

    def _read(self, source: Source) -> int:
        """Sum the sizes in memory of the blocks that reading tasks make."""
        culled = self._cull()
        # Stores that are nodes of their own are read by the layers that take them.
        nodes = {
            layer.name for layer in culled.layers if layer.name in source.layers and layer.values()
        }
        return sum(
            self.estimator.of(layer.name, key).nbytes
            for layer in culled.layers
            if layer.name not in nodes
            if layer.name in source.layers or culled.dependencies[layer.name] & nodes
            for key in layer.dependencies
        )
