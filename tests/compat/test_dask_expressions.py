from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import pytest

from xr_locality.compat.dask_expressions import (
    FINALIZE,
    graph_expression,
    graph_operands,
    is_expression,
    join_expressions,
    meta_of,
    node_metas,
)

ARRAY = da.ones(4, chunks=2) + 1


def handed_over(*collections: Any) -> Any:
    """Get the expression that ``dask.compute`` hands to a scheduler."""
    seen: list[Any] = []

    def get(expression: Any, keys: Any, **_: Any) -> Any:
        seen.append(expression)
        return dask.threaded.get(expression, keys)

    dask.compute(*collections, scheduler=get)
    return seen[0]


def test_operands_of_what_is_computed() -> None:
    """Each operand shows its graph, with the task on top that assembles the collection."""
    delayed = dask.delayed(sum)([1, 2])
    for expression in (handed_over(ARRAY), handed_over(ARRAY, delayed)):
        operands = graph_operands(expression)
        assert operands
        names = [name for each in operands for name in each.hlg.layers]
        assert ARRAY.name in names
        assert any(name.startswith(FINALIZE) for name in names)
        assert all(hasattr(each, "low_level_optimizer") for each in operands)


def test_a_graph_is_no_expression() -> None:
    """A bare graph has no operands, and a Delayed is no expression."""
    assert graph_operands({"a": 1}) == []
    assert not is_expression(dask.delayed(1))


def test_made_expressions_compute() -> None:
    """An expression that is made of a graph, and several joined, give the graph's values."""
    keys = [(ARRAY.name, 0), (ARRAY.name, 1)]
    one = graph_expression(ARRAY.dask, keys, None)
    other = graph_expression((ARRAY * 2).dask, [((ARRAY * 2).name, 0)], None)
    assert join_expressions([one]) is one
    both = join_expressions([one, other]).__dask_graph__()
    first, second = dask.get(both, [keys[0], ((ARRAY * 2).name, 0)])
    assert first.tolist() == [2.0, 2.0]
    assert second.tolist() == [4.0, 4.0]


def test_metas_of_frames() -> None:
    """The nodes of a DataFrame's expression have names and metas."""
    dd = pytest.importorskip("dask.dataframe")
    pd = pytest.importorskip("pandas")
    frame = dd.from_pandas(pd.DataFrame({"a": [1, 2, 3]}), npartitions=2)
    assert is_expression(frame.expr)
    metas = dict(node_metas(frame.a.sum().expr))
    assert frame.a.sum().expr._name in metas
    assert meta_of(ARRAY).shape == (0,)
    assert meta_of(1) is None
