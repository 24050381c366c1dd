"""What dask hands to a scheduler, taken apart again.

``dask.compute`` gives its scheduler an expression that would materialise as one
fused graph, in which no split exists any more. Its operands still hold the
unoptimised graphs, with a task on top of each collection that assembles it: that
task is run here, on what its inputs turn out to be.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dask.multiprocessing
import dask.threaded
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key
from dask.utils import ensure_dict

from xr_locality.compat.dask_array import LoweredArray, array_in, lower
from xr_locality.compat.dask_expressions import (
    FINALIZE,
    Expr,
    HLGExpr,
    graph_operands,
    sequence_operands,
)
from xr_locality.compat.dask_graph import Task
from xr_locality.graph.collections import Bundle, Part
from xr_locality.graph.persisted import reveal

__all__ = ["default_get", "take_apart"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """A dask collection of one key that was asked for, seen before it is assembled."""

    graph: HighLevelGraph
    needed: tuple[Key, ...]
    finish: Callable[[Mapping[Key, Any]], Any]
    optimizer: Callable[..., Any] | None

    def __dask_graph__(self) -> HighLevelGraph:
        return self.graph

    def __dask_keys__(self) -> list[Key]:
        return list(self.needed)

    def __dask_postcompute__(self) -> tuple[Callable[..., Any], tuple[()]]:
        def finish(values: list[Any]) -> Any:
            return self.finish(dict(zip(self.needed, values, strict=True)))

        return finish, ()

    @property
    def __dask_optimize__(self) -> Callable[..., Any] | None:
        return self.optimizer


def take_apart(expression: Expr | Mapping[Key, Any], keys: list[Any]) -> tuple[Bundle, list[Key]]:
    """Make a bundle of what a scheduler was asked for.

    Parameters
    ----------
    expression : Expr or mapping of key to task
        What dask handed over: a graph comes from functions that make one themselves.
    keys : list of key
        What it wants the values of.

    Returns
    -------
    bundle : Bundle
        Of one part for each key that the expression makes.
    order : list of key
        The keys of the parts.
    """
    wanted = dict.fromkeys(flatten([keys]))
    made = {key: each for key, each in _operands(expression, wanted) if key in wanted}
    parts = tuple(
        Part(collection=each, graph=each.graph, keys=list(each.needed), variable=None)
        for each in made.values()
    )
    return Bundle(parts=parts, rebuild=tuple), list(made)


def default_get(expression: Expr | Mapping[Key, Any]) -> Callable[..., Any]:
    """Get the scheduler that the collections of an expression use by default."""
    for operand in graph_operands(expression):
        if getattr(operand.low_level_optimizer, "__module__", "") == "dask.bag.core":
            get: Callable[..., Any] = dask.multiprocessing.get
            return get
    threaded: Callable[..., Any] = dask.threaded.get
    return threaded


def _operands(
    expression: Expr | Mapping[Key, Any], wanted: Iterable[Key]
) -> Iterator[tuple[Key, _Wanted]]:
    if arrays := _arrays_of(expression):
        yield from _wanted_arrays(arrays)
        return
    operands = graph_operands(expression)
    if not operands:
        # DataFrames: their expression has been optimised, and its graph is what there is.
        tasks = expression if isinstance(expression, Mapping) else expression.__dask_graph__()
        graph = HighLevelGraph.from_collections("expression", ensure_dict(tasks))
        for key in wanted:
            yield key, _Wanted(graph=graph, needed=(key,), finish=_only, optimizer=None)
    for operand in operands:
        keys = list(flatten(operand.__dask_keys__()))
        for key in keys:
            yield key, _wanted(operand, key, top=keys)


def _arrays_of(expression: Expr | Mapping[Key, Any]) -> dict[Key, Any]:
    """Get the arrays of dask-array that are to be assembled, if there is nothing else."""
    arrays = {
        key: array_in(each)
        for each in sequence_operands(expression)
        for key in flatten(each.__dask_keys__())
    }
    complete = all(isinstance(key, str) for key in arrays) and None not in arrays.values()
    return arrays if complete else {}


def _wanted_arrays(arrays: Mapping[Key, Any]) -> Iterator[tuple[Key, _Wanted]]:
    for key, array in zip(arrays, lower(list(arrays.values())), strict=True):

        def finish(values: Mapping[Key, Any], array: LoweredArray = array) -> Any:
            return array.finish(_nest(array.keys, values))

        needed = tuple(flatten([array.keys]))
        yield key, _Wanted(graph=reveal(array.graph), needed=needed, finish=finish, optimizer=None)


def _wanted(operand: HLGExpr, key: Key, *, top: Collection[Key]) -> _Wanted:
    graph, optimizer = reveal(operand.hlg), operand.low_level_optimizer
    layer = graph.layers.get(key) if isinstance(key, str) else None
    task = layer.get(key) if layer is not None and len(layer) == 1 else None
    used = {name for needs in graph.dependencies.values() for name in needs}
    if not isinstance(task, Task) or not _assembles(key) or key in used:
        return _Wanted(graph=graph, needed=(key,), finish=_only, optimizer=optimizer)
    # Only the operand's own: a collection that is an argument of a task is assembled by a
    # layer of the same name inside the graph.
    own = {name for name in top if _assembles(name) and name not in used}
    below = HighLevelGraph(
        {name: each for name, each in graph.layers.items() if name not in own},
        {name: needs for name, needs in graph.dependencies.items() if name not in own},
    )
    needed = tuple(sorted(task.dependencies, key=repr))
    return _Wanted(graph=below, needed=needed, finish=task, optimizer=optimizer)


def _assembles(name: Any) -> bool:
    """Whether a layer is the one that ``HLGFinalizeCompute`` puts on top of a collection."""
    return isinstance(name, str) and name.startswith(FINALIZE)


def _nest(keys: Any, values: Mapping[Key, Any]) -> Any:
    if isinstance(keys, list):
        return [_nest(key, values) for key in keys]
    return values[keys]


def _only(values: Mapping[Key, Any]) -> Any:
    (value,) = values.values()
    return value
