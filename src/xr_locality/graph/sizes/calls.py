"""What a task calls and on what, and whether it may be tried on small arrays.

A function is named by its module and qualified name, so that versions of dask
that lack it, or have moved it, are no error: it is tried like any other.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from functools import partial
from itertools import islice
from types import BuiltinMethodType, FunctionType, ModuleType
from typing import Any, Final

import numpy as np
from dask.typing import Key

from xr_locality.compat.dask_graph import DataNode, GraphNode, NestedContainer, Task, TaskRef
from xr_locality.compat.xarray_variables import is_loaded
from xr_locality.config import TrialFunctions
from xr_locality.graph.sizes.descriptions import Description, Known, Packed, Shaped, Unknown, leaves
from xr_locality.graph.sizes.known_functions import importable_name, package_of, user_object

__all__ = [
    "USER_FUNCTION",
    "holds_for_process",
    "literal_lengths",
    "literals",
    "name_of",
    "own_literals",
    "refusal",
    "signature",
    "steps_of",
]

#: Packages whose functions compute: they are tried for tasks that are not of an array too.
_LIBRARIES: Final = frozenset({"builtins", "dask", "flox", "numpy", "operator", "scipy", "xarray"})

#: Parts of the names of functions that may do more than return a value.
_EFFECTS: Final = (
    "dump", "fetch", "get_worker", "load", "open", "print", "read", "save", "send", "store", "to_",
    "tofile", "write",
)  # fmt: skip

#: Where functions are defined that are never tried: they talk to a cluster.
_NEVER: Final = ("distributed.", "xr_locality.execution.", "xr_locality.graph.")

#: Why a task that calls a function of the user's is not tried.
USER_FUNCTION: Final = (
    "it calls a function of yours, and planning runs none (trial_functions: all would)"
)

_INPUT: Final = "of one of its inputs, "

#: Functions of dask that run a graph inside of a task, and that return their argument.
RUNS_GRAPH: Final = "dask._task_spec._execute_subgraph"
RETURNS_SAME: Final = "dask._expr.ProhibitReuse._identity"
HANDS_ON: Final = frozenset({RUNS_GRAPH, RETURNS_SAME})

#: Begins the signature of an object that is named by its identity.
AT: Final = "at"

#: Arrays at hand up to this size are known by their values, larger ones by identity.
_BY_VALUE_NBYTES: Final = 4096


def steps_of(task: Any) -> list[tuple[Any, dict[str, Any]]]:
    """List the functions that a task calls one after another, with their keywords.

    Parameters
    ----------
    task : Task
        Wrappers, ``functools.partial`` and what composes functions, are taken off.
    """
    keywords = dict(getattr(task, "kwargs", None) or {})
    function, keywords = _unwrap(getattr(task, "func", None), keywords)
    if _is_composed(function):
        return [_unwrap(each, {}) for each in (function.first, *function.funcs[:-1])] + [
            _unwrap(function.funcs[-1], keywords)
        ]
    return [(function, keywords)]


def _unwrap(function: Any, keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    while isinstance(function, partial):
        keywords = {**function.keywords, **keywords}
        function = function.func
    return function, keywords


def _is_composed(function: Any) -> bool:
    """Whether a function is what toolz makes of several."""
    return type(function).__name__ == "Compose" and bool(getattr(function, "funcs", None))


def name_of(function: Any) -> str:
    """Name a function by its module and qualified name.

    Methods of objects, ``[].append``, are in the module ``method``.
    """
    if isinstance(called := getattr(function, "method", None), str):
        # What calls a method of its first argument.
        return f"{type(function).__module__}.{called}"
    if isinstance(function, BuiltinMethodType) and not isinstance(function.__self__, ModuleType):
        return f"method.{function.__name__}"
    module = getattr(function, "__module__", None) or type(function).__module__
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    if isinstance(function, FunctionType) and module.partition(".")[0] != package_of(function):
        # ``functools.wraps`` gave it the name of another.
        module = str(function.__globals__.get("__name__"))
    return f"{module}.{name or type(function).__qualname__}"


def own_literals(task: Task) -> list[Any]:
    """List the function that a task calls last and the values that it gives to it.

    Not those of tasks inside of it; nothing for what only runs the tasks inside.
    """
    if name_of(task.func) in HANDS_ON:
        return []
    given = (task.func, *task.args, *(task.kwargs or {}).values())
    return [each for each in given if not isinstance(each, GraphNode | TaskRef)]


def literals(item: Any) -> Iterator[Any]:
    """List the functions and values that a task holds, in its arguments and wrappers."""
    stack = [item]
    while stack:
        each = stack.pop()
        if isinstance(each, DataNode):
            stack.append(each.value)
        elif isinstance(each, NestedContainer):
            stack.extend(each.args)
        elif isinstance(each, Task):
            stack += [each.func, *each.args, *(each.kwargs or {}).values()]
        elif isinstance(each, partial):
            stack += [each.func, *each.args, *each.keywords.values()]
        elif _is_composed(each):
            stack += [each.first, *each.funcs]
        elif isinstance(each, list | tuple | set | frozenset):
            stack.extend(islice(each, 1000))
        elif isinstance(each, Mapping):
            stack.extend(each.values())
        elif not isinstance(each, TaskRef | GraphNode):
            yield each


def literal_lengths(items: list[Any]) -> frozenset[int]:
    """List the lengths of the arrays among literals: inputs may have to have the same."""
    found: set[int] = set()
    for each in items:
        shape = getattr(each, "shape", None)
        if isinstance(shape, tuple):
            found.update(length for length in shape if isinstance(length, int))
    return frozenset(found)


def refusal(
    items: list[Any],
    inputs: Mapping[Key, Description],
    *,
    of_array: bool,
    trials: TrialFunctions,
) -> str | None:
    """Return why a task is not to be tried on small arrays, if so.

    Parameters
    ----------
    items : list
        Its literals: functions and values.
    inputs : mapping to Description
        What it takes.
    of_array : bool
        Whether it makes a block of a dask array: dask has called such functions
        itself, on empty arrays. With ``"all"``, others are tried only if a library
        computes with them.
    trials : {"known", "all", "never"}
        Whose functions may be tried.
    """
    taken = list(leaves(list(inputs.values())))
    unknown = next((leaf.reason for leaf in taken if isinstance(leaf, Unknown)), None)
    if unknown is not None:
        return unknown if unknown.startswith(_INPUT) else f"{_INPUT}{unknown}"
    if trials == "never":
        return "trial_functions is 'never'"
    values = [*items, *(leaf.value for leaf in taken if isinstance(leaf, Known))]
    if any(map(_is_handle, values)):
        return "it reads a store"
    for item in items:
        if callable(item) and not isinstance(item, type):
            reason = _refusal_of(item, of_array=of_array or trials == "known")
            if reason is not None:
                return reason
    if trials == "known" and user_object(values) is not None:
        return USER_FUNCTION
    arrays = any(isinstance(each, np.ndarray) for each in values)
    if not arrays and not any(isinstance(leaf, Shaped) for leaf in taken):
        return "it takes no arrays"
    return None


def _refusal_of(function: Any, *, of_array: bool) -> str | None:
    """Return why a function is not to be tried by its name, if so."""
    name = name_of(function)
    if name.startswith(_NEVER):
        return "it talks to a cluster"
    effects = name.rpartition(".")[2].lstrip("_").startswith(_EFFECTS)
    known = name.partition(".")[0].lstrip("_") in _LIBRARIES
    if effects or not (known or of_array):
        return "its function may do more than return a value"
    return None


def _is_handle(value: Any) -> bool:
    """Whether a value stands for an array that is not in memory."""
    if isinstance(value, np.ndarray | np.generic | np.dtype | type):
        return False
    shape = getattr(value, "shape", None)
    if not isinstance(shape, tuple) or not hasattr(value, "dtype"):
        return False
    # Indexes, and what xarray wraps them in.
    if type(value).__module__.partition(".")[0] == "pandas" or "Pandas" in type(value).__name__:
        return False
    return not (hasattr(value, "__array_ufunc__") and is_loaded(value))


def signature(item: Any, inputs: Mapping[Key, Description]) -> Hashable:
    """Make what is equal for tasks that differ only in the values of their arrays.

    Objects of other types are named by their identity: keep them alive.
    """
    if isinstance(item, GraphNode | TaskRef):
        return _signature_of_node(item, inputs)
    if isinstance(item, Shaped | Unknown):
        return item
    if isinstance(item, Packed):
        return item.kind, signature(item.items, inputs)
    if isinstance(item, Known):
        return "value", signature(item.value, inputs)
    if isinstance(item, partial):
        return (
            "partial",
            signature(item.func, inputs),
            signature(item.args, inputs),
            signature(item.keywords, inputs),
        )
    if isinstance(item, dict):
        return "dict", tuple((repr(k), signature(each, inputs)) for k, each in item.items())
    if isinstance(item, list | tuple):
        return type(item).__name__, tuple(signature(each, inputs) for each in item)
    return _signature_of_value(item)


def _signature_of_node(node: Any, inputs: Mapping[Key, Description]) -> Hashable:
    if isinstance(node, DataNode):
        return "value", signature(node.value, inputs)
    if isinstance(node, Task):
        return (
            type(node).__name__,
            signature(node.func, inputs),
            signature(node.args, inputs),
            signature(dict(node.kwargs or {}), inputs),
        )
    key = node.key if isinstance(node, TaskRef) else next(iter(node.dependencies))
    # Tasks inside of a task refer to one another by keys of their own.
    return signature(inputs[key], inputs) if key in inputs else ("key", key)


def _signature_of_value(item: Any) -> Hashable:
    if isinstance(item, slice):
        return "slice", item.start, item.stop, item.step
    if isinstance(item, np.ndarray) and not item.dtype.hasobject:
        if item.nbytes <= _BY_VALUE_NBYTES and not isinstance(item, np.ma.MaskedArray):
            return item.shape, item.dtype.str, item.tobytes()
    elif isinstance(item, int | float | str | bytes | bool | type(None)):
        return type(item).__name__, item
    elif isinstance(item, np.generic) and not item.dtype.hasobject:
        return "scalar", item.dtype.str, item.tobytes()
    elif isinstance(item, np.dtype):
        return "dtype", repr(item)
    elif (name := importable_name(item)) is not None:
        return "named", name
    return AT, id(item)


def holds_for_process(signature: Hashable) -> bool:
    """Whether a signature names no object by its identity, so that it may be remembered."""
    stack = [signature]
    while stack:
        each = stack.pop()
        if isinstance(each, tuple):
            if each and each[0] is AT:
                return False
            stack.extend(each)
    return True
