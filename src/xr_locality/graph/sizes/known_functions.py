"""Functions of libraries, which may be tried on small arrays, told from functions of the user.

Planning runs no function of the user's. A function counts by the module that it really comes
from, not by the name that it bears: ``functools.wraps`` copies names. Whatever a library's
function holds, in a closure, a partial call or an attribute, must come from a library too, as
``numpy.vectorize`` holds a function of the user's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final

import numpy as np

__all__ = ["importable_name", "package_of", "user_object"]

#: Packages whose functions are tried.
_LIBRARIES: Final = frozenset(
    "bottleneck cftime cytoolz dask flox numpy numpy_groupies pandas scipy tlz toolz xarray".split()
)
#: Modules of Python's own whose functions only compute.
_COMPUTES: Final = frozenset(
    "builtins collections datetime decimal fractions functools itertools math numbers operator "
    "types".split()
)
#: Built-in functions that do more than compute, or run text as a program.
_REFUSED: Final = frozenset("__import__ breakpoint compile eval exec exit input open print".split())

#: Objects that are looked at in one task; a task that holds more counts as the user's.
_MOST_OBJECTS: Final = 1000

_Builtin = BuiltinFunctionType | np.ufunc


def user_object(objects: Iterable[Any]) -> Any | None:
    """Find an object that is, or holds, a function or a class that is not a library's.

    Parameters
    ----------
    objects : iterable of Any
        The functions and values of a task.

    Returns
    -------
    Any or None
        The first such object; None if all come from libraries.
    """
    stack, seen = list(objects)[::-1], set[int]()
    while stack:
        each = stack.pop()
        if id(each) in seen or _is_plain(each):
            continue
        seen.add(id(each))
        if len(seen) > _MOST_OBJECTS or not _is_of_library(each):
            return each
        stack.extend(_held_by(each))
    return None


def package_of(function: Any) -> str:
    """Name the package that a function, a class or an object's class really comes from."""
    if isinstance(function, FunctionType):
        module = function.__globals__.get("__name__")
    elif isinstance(function, type):
        module = function.__module__
    elif isinstance(function, BuiltinFunctionType):
        owner = function.__self__
        module = owner.__name__ if isinstance(owner, ModuleType) else type(owner).__module__
    elif isinstance(function, np.ufunc):
        module = _home_of_ufunc(function)
    elif type(function).__name__ == "cython_function_or_method":
        module = function.__module__
    else:
        module = type(function).__module__
    return str(module).partition(".")[0].lstrip("_")


def importable_name(function: Any) -> str | None:
    """Name a function or class that is found under its name; None for all others.

    Such a function is the same wherever it is met, so a trial of it holds for the process.
    """
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    module = getattr(function, "__module__", None)
    if isinstance(function, np.ufunc):
        module = _home_of_ufunc(function)
    if not isinstance(name, str) or not isinstance(module, str):
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}.{name}" if found is function else None


def _is_plain(value: Any) -> bool:
    """Whether a value is data without functions."""
    if isinstance(value, np.ndarray):
        return type(value).__module__.partition(".")[0] == "numpy" and not value.dtype.hasobject
    kind = type(value)
    return kind in _PLAIN or (isinstance(value, np.generic) and kind.__module__ == "numpy")


_PLAIN: Final = frozenset(
    {str, bytes, int, float, complex, bool, type(None), slice, range, type(...), np.dtype}
)


def _is_of_library(item: Any) -> bool:
    """Whether an object, or its class, comes from a library."""
    if isinstance(item, BuiltinFunctionType):
        # A method of an object, such as ``[].append``, may change the object.
        of_object = not isinstance(item.__self__, ModuleType) and not _is_plain(item.__self__)
        if of_object or item.__name__ in _REFUSED:
            return False
    package = package_of(item)
    return package in _LIBRARIES or package in _COMPUTES


def _home_of_ufunc(function: np.ufunc) -> str:
    """Find the library that a ufunc is an attribute of; others may run anything."""
    for module in ("numpy", "scipy.special"):
        if getattr(sys.modules.get(module), function.__name__, None) is function:
            return module
    return ""


def _held_by(item: Any) -> Iterator[Any]:
    """List what a library's object holds and may call."""
    if isinstance(item, partial):
        yield item.func
        yield from item.args
        yield from item.keywords.values()
    elif isinstance(item, FunctionType):
        yield from item.__defaults__ or ()
        yield from (item.__kwdefaults__ or {}).values()
        for cell in item.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # A name that the enclosing function has not set yet.
                continue
    elif isinstance(item, MethodType):
        yield from (item.__func__, item.__self__)
    elif isinstance(item, Mapping):
        yield from islice(item.values(), _MOST_OBJECTS)
    elif isinstance(item, list | tuple | set | frozenset):
        yield from islice(item, _MOST_OBJECTS)
    elif isinstance(item, np.ndarray):
        yield from islice(item.flat, _MOST_OBJECTS)
    elif not isinstance(item, _Builtin | type | ModuleType):
        yield from _attributes_of(item)


def _attributes_of(item: Any) -> Iterator[Any]:
    # Never getattr: a property may compute, open or connect.
    with suppress(AttributeError):
        for name, value in object.__getattribute__(item, "__dict__").items():
            # What a decorator copies from a function, but for the function itself.
            if not name.startswith("__") or name == "__wrapped__":
                yield value
    for parent in type(item).__mro__:
        slots = vars(parent).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            descriptor = vars(parent).get(name)
            if descriptor is not None:
                try:
                    yield descriptor.__get__(item)
                except AttributeError:  # Not set.
                    continue
