"""Plans whose graphs open files again where they are read, instead of bringing them along."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from dask.highlevelgraph import HighLevelGraph

from xr_locality.program.open_files import reopening
from xr_locality.sources.storage.netcdf import is_variable

if TYPE_CHECKING:
    from xr_locality.plan.model import Plan

__all__ = ["open_files_again"]


def open_files_again(plan: Plan) -> Plan:
    """Make the plan whose parts open files of their own where they run.

    Parameters
    ----------
    plan : Plan
        As it is to run.

    Returns
    -------
    Plan
        To be sent; the same where nothing reads open files.
    """
    names = {
        name
        for source in plan.sources
        for name, found in source.layers.items()
        if any(map(is_variable, found))
    }
    if not names:
        return plan
    partitions = tuple(
        replace(partition, graph=_again(partition.graph, names)) for partition in plan.partitions
    )
    bundle = plan.bundle
    if len(partitions) == 1:
        parts = tuple(replace(part, graph=_again(part.graph, names)) for part in bundle.parts)
        bundle = replace(bundle, parts=parts)
    return replace(plan, partitions=partitions, bundle=bundle)


def _again(graph: HighLevelGraph, names: Collection[str]) -> HighLevelGraph:
    layers = {
        name: reopening(layer) if name in names else layer for name, layer in graph.layers.items()
    }
    return HighLevelGraph(layers, graph.dependencies)
