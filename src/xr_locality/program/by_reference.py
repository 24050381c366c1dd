"""Rewriter of the local region's graph, which hands over objects of this process as they are.

A copy of an array that is written to would be filled and lost. The embedded cluster runs in
this process, so its tasks take references, which become the objects themselves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from dask.highlevelgraph import Layer, MaterializedLayer
from dask.typing import Key

from xr_locality.compat.dask_graph import GraphNode, TaskRef
from xr_locality.graph.layers import embedded_objects
from xr_locality.program.executable import Program, RegionProgram, replace_layers
from xr_locality.program.retarget import swap
from xr_locality.runtime.object_references import LocalReference
from xr_locality.sources.local_objects import local_calls
from xr_locality.sources.search import find_contents, local_test

__all__ = ["hand_over_by_reference"]

#: What a graph is made of; objects are looked for inside of it.
_GRAPH: Final = (Layer, GraphNode, TaskRef, dict, list, tuple, set, frozenset)


def hand_over_by_reference(program: Program) -> Program:
    """Make tasks of the local region take the very objects of this process that they hold.

    Parameters
    ----------
    program : Program
        As planned: tasks that hold such objects are in region ``local``.

    Returns
    -------
    Program
        The same where no task holds such an object.
    """
    return replace(
        program,
        regions=tuple(
            _with_references(each) if each.region.is_local else each for each in program.regions
        ),
    )


def _with_references(program: RegionProgram) -> RegionProgram:
    graph = program.graph
    references: dict[int, LocalReference] = {}
    targets: dict[Key, Any] = {}
    wanted: set[str] = set()
    for name, layer in graph.layers.items():
        calls = local_calls(graph, name)
        for call in calls:
            for obj in (call.target, call.lock):
                if obj is not None and not isinstance(obj, bool):
                    references.setdefault(id(obj), LocalReference(obj))
            if call.target_key is not None:
                targets[call.target_key] = call.target
        if calls or find_contents(embedded_objects(layer)).local:
            wanted.add(name)
    if not wanted:
        return program
    wanted.update(
        name
        for name, layer in graph.layers.items()
        if isinstance(layer, MaterializedLayer) and not targets.keys().isdisjoint(layer.mapping)
    )

    is_local = local_test()

    def instead(obj: Any) -> LocalReference | None:
        if (reference := references.get(id(obj))) is not None:
            return reference
        if isinstance(obj, TaskRef):
            # Not the value of a task: a worker may move that to its disk, and read a copy.
            return references[id(targets[obj.key])] if obj.key in targets else None
        if isinstance(obj, _GRAPH) or not is_local(obj):
            return None
        return references.setdefault(id(obj), LocalReference(obj))

    graph = replace_layers(graph, wanted, lambda _, layer: swap(layer, instead))
    return replace(program, graph=graph, has_references=True)
