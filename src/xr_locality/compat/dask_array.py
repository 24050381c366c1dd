"""Array expressions of the package dask-array, as graphs with one layer an expression.

dask-array replaces ``dask.array`` under xarray where a user registers it. It has no
public way to lower an expression without fusing, or to get the tasks of one expression:
both are used here by their private names, verified with dask-array 0.7.1 and dask 2026.8.
Where they are gone, planning such arrays is refused with an
:class:`~xr_locality.errors.ConfigurationError`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from dask.core import keys_in_tasks
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.typing import Key

from xr_locality.errors import ConfigurationError

__all__ = ["LoweredArray", "array_in", "is_array_expression", "lower", "refuse_query_planning"]

#: The version that this module was verified with.
VERIFIED = "0.7.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoweredArray:
    """An array expression as a graph.

    Attributes
    ----------
    graph : HighLevelGraph
        One layer for each expression, optimised by dask-array's rules and not fused.
    keys : list
        Output keys, nested as blocks are.
    layer : str
        The layer that makes them.
    finish : callable
        Makes the array's value of its blocks, nested as the keys are.
    """

    graph: HighLevelGraph
    keys: list[Any]
    layer: str
    finish: Callable[[Any], Any]


def is_array_expression(collection: Any) -> bool:
    """Return whether a collection is an array of dask-array, without importing it."""
    package = sys.modules.get("dask_array")
    return package is not None and isinstance(collection, package.Array)


def refuse_query_planning(collection: Any) -> None:
    """Refuse arrays of dask's own query planning, which dask has left unfinished.

    Raises
    ------
    ConfigurationError
        If the collection is such an array.
    """
    if type(collection).__module__.startswith("dask.array._array_expr"):
        raise ConfigurationError(
            "dask's own query planning of arrays (array.query-planning) is not supported. Set "
            "it to False before dask.array is imported, or use the package dask-array."
        )


def array_in(expression: Any) -> Any | None:
    """Return the array expression that dask computes, out of what assembles its blocks.

    Parameters
    ----------
    expression : Expr
        What ``dask.compute`` made of one array.

    Returns
    -------
    Expr or None
        As it was before its blocks were fused; None if it is no array expression.
    """
    if "dask_array" not in sys.modules:
        return None
    with _verified():
        from dask_array._expr import ArrayExpr, FinalizeComputeArray, RootAlias

        if isinstance(expression, FinalizeComputeArray):
            expression = expression.arr
        if isinstance(expression, RootAlias):
            expression = expression.array
        return _unfused(expression, {}) if isinstance(expression, ArrayExpr) else None


def lower(expressions: Sequence[Any]) -> list[LoweredArray]:
    """Optimise array expressions together, and make a graph of each.

    Parameters
    ----------
    expressions : sequence of Expr
        The expressions of arrays, such as ``array.expr``. What they share is shared by
        their graphs, too.

    Returns
    -------
    list of LoweredArray
        In the order of the expressions. Blocks are those that the arrays state.

    Raises
    ------
    ConfigurationError
        If the installed dask-array differs from what is known here.
    """
    if not expressions:
        return []
    with _verified():
        from dask._expr import _ExprSequence
        from dask_array._expr import ChunksFreeze

        frozen = [ChunksFreeze(each, each.chunks) for each in expressions]
        lowered = _ExprSequence(*frozen).simplify().lower_completely()
        layers: dict[str, Mapping[Key, Any]] = {}
        return [_as_graph(each, layers) for each in lowered.operands]


@contextmanager
def _verified() -> Iterator[None]:
    try:
        yield
    except (AttributeError, ImportError) as error:
        raise ConfigurationError(
            f"dask-array {version('dask-array')} differs from the version that xr-locality "
            f"knows ({VERIFIED}): {error}. Install that version, or do not register dask-array "
            "for xarray."
        ) from error


def _as_graph(expression: Any, made: dict[str, Mapping[Key, Any]]) -> LoweredArray:
    layers: dict[str, MaterializedLayer] = {}
    dependencies: dict[str, set[str]] = {}
    for node in expression.walk():
        name = node._name
        if name in layers:
            continue
        if name not in made:
            made[name] = node._layer()
        # A stored array, or a whole graph that was given, comes with the blocks made of it.
        grouped: dict[str, dict[Key, Any]] = {name: {}}
        for key, task in made[name].items():
            grouped.setdefault(_layer_of(key), {})[key] = task
        for other, tasks in grouped.items():
            if other != name:
                layers[other] = MaterializedLayer(tasks)
                dependencies[other] = _needs(tasks, grouped) - {other}
        layers[name] = MaterializedLayer(grouped[name], collection_annotations=_stated(node))
        dependencies[name] = {each._name for each in node.dependencies()}
        dependencies[name].update(grouped.keys() - {name})
    return LoweredArray(
        graph=HighLevelGraph(layers, dependencies),
        keys=expression.__dask_keys__(),
        layer=expression._name,
        finish=sys.modules["dask_array"].Array(expression).__dask_postcompute__()[0],
    )


def _layer_of(key: Key) -> str:
    return str(key[0] if isinstance(key, tuple) else key)


def _needs(tasks: Mapping[Key, Any], layers: Mapping[str, Mapping[Key, Any]]) -> set[str]:
    """Name the layers that tasks take values of."""
    known = {key for each in layers.values() for key in each}
    return {_layer_of(key) for task in tasks.values() for key in keys_in_tasks(known, [task])}


def _stated(node: Any) -> dict[str, Any]:
    """State of an expression's blocks what layers of ``dask.array`` state."""
    kind = type(node._meta)
    return {
        "type": "dask_array.Array",
        "chunk_type": f"{kind.__module__}.{kind.__qualname__}",
        "chunks": node.chunks,
        "shape": node.shape,
        "dtype": node.dtype,
    }


def _unfused(expression: Any, done: dict[str, Any]) -> Any:
    """Replace fused blocks by the expressions they were fused of, from the inputs up."""
    from dask_array._blockwise import FusedBlockwise
    from dask_array._expr import ArrayExpr

    if (found := done.get(expression._name)) is None:
        found = expression.exprs[0] if isinstance(expression, FusedBlockwise) else expression
        operands = [
            _unfused(each, done) if isinstance(each, ArrayExpr) else each for each in found.operands
        ]
        if _differ(operands, found.operands):
            found = type(found)(*operands)
        done[expression._name] = found
    return found


def _differ(some: Iterable[Any], others: Iterable[Any]) -> bool:
    return any(one is not other for one, other in zip(some, others, strict=True))
