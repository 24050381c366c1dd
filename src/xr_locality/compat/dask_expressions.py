"""Dask's expressions: what ``dask.compute`` hands to a scheduler, and what DataFrames are.

All expression classes are defined in ``dask._expr``, which has no public name, and dask does
not document how a scheduler may find the graphs that an expression was made of. Last verified
with dask 2026.8.0; 2025.12.0 is the oldest that is tested. A class that is gone is refused
when it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from xr_locality.compat.private_names import private_name

_VERIFIED: Final = "2026.8.0"

if TYPE_CHECKING:
    from dask._expr import Expr, HLGExpr, _ExprSequence, _HLGExprSequence
else:

    def _private(name: str) -> Any:
        return private_name("dask._expr", name, verified=_VERIFIED)

    Expr = _private("Expr")
    HLGExpr = _private("HLGExpr")
    _ExprSequence = _private("_ExprSequence")
    _HLGExprSequence = _private("_HLGExprSequence")

__all__ = [
    "FINALIZE",
    "Expr",
    "HLGExpr",
    "graph_expression",
    "graph_operands",
    "is_expression",
    "join_expressions",
    "meta_of",
    "node_metas",
    "sequence_operands",
]

#: Beginning of the name of the layer that ``dask._expr.HLGFinalizeCompute`` puts on top of a
#: collection, to assemble its value.
FINALIZE: Final = "finalize-hlgfinalizecompute"


def is_expression(value: object) -> TypeGuard[Expr]:
    """Whether an object is an expression."""
    return isinstance(value, Expr)


def graph_expression(
    graph: HighLevelGraph, keys: list[Key], optimizer: Callable[..., Any] | None
) -> HLGExpr:
    """Make the expression of a graph that its scheduler optimises.

    Parameters
    ----------
    graph : HighLevelGraph
        Not optimised.
    keys : list of key
        The outputs.
    optimizer : callable or None
        The collection's ``__dask_optimize__``.
    """
    return HLGExpr(dsk=graph, low_level_optimizer=optimizer, output_keys=keys)


def join_expressions(expressions: list[Expr]) -> Expr:
    """Make one expression of several, which are sent together."""
    return _ExprSequence(*expressions) if len(expressions) > 1 else expressions[0]


def graph_operands(expression: Expr | Mapping[Key, Any]) -> list[HLGExpr]:
    """List the graphs that an expression was made of; none for those of DataFrames."""
    if isinstance(expression, HLGExpr):
        return [expression]
    if isinstance(expression, _HLGExprSequence):
        return list(expression.operands)
    return []


def sequence_operands(expression: Expr | Mapping[Key, Any]) -> list[Expr]:
    """List the expressions that are computed together; none for a single one or a graph."""
    return list(expression.operands) if isinstance(expression, _ExprSequence) else []


def node_metas(expression: Expr) -> Iterator[tuple[str, Any]]:
    """List the names and the metas of an expression's nodes."""
    for node in expression.walk():
        if (meta := meta_of(node)) is not None:
            yield node._name, meta


def meta_of(collection: object) -> Any:
    """Get the empty array or frame that a collection states itself to be; None if it has none."""
    try:
        return getattr(collection, "_meta", None)
    except NotImplementedError:
        # Expressions within a DataFrame that are none themselves, such as a Delayed's.
        return None
