"""Report what clearly reads, and from where nobody knows."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any, Final

from xarray.backends import BackendArray

from xr_locality.compat.xarray_backends import is_indexing_adapter
from xr_locality.sources.finder import Found, Walk

__all__ = ["UnknownFinder"]

# Packages whose array-like objects hold their values in memory.
_IN_MEMORY: Final = frozenset("dask distributed numpy pandas scipy sparse xarray".split())
# What arrays that compute have, and those that only read do not.
_COMPUTING: Final = ("__array_function__", "__array_ufunc__", "__array_namespace__")


class UnknownFinder:
    """Asked last: finds readers that no other finder knows.

    They are arrays that can be indexed and not computed with, as storage libraries
    offer them, xarray's backend arrays, and files. If something is found inside,
    that is what they read.
    """

    name = "unknown"

    def find(self, obj: object, walk: Walk) -> Iterable[Found] | None:
        """Report a reader of unknown place; None for other objects."""
        word = _reader(obj)
        if word is None:
            return None
        # What it holds, and not itself: that is being looked at.
        return walk(_state(obj)) or (Found.unknown(obj, detail=word),)


def _reader(obj: object) -> str | None:
    kind = type(obj)
    if isinstance(obj, BackendArray):
        return "backend array of xarray"
    if isinstance(obj, io.BytesIO | io.StringIO) or is_indexing_adapter(obj):
        return None
    if kind.__module__.partition(".")[0] in _IN_MEMORY:
        return None
    # Of the class, never of the object: __getattr__ may answer anything to anybody.
    if all(hasattr(kind, name) for name in ("read", "seek", "tell")):
        return "file"
    if (
        all(hasattr(kind, name) for name in ("__getitem__", "shape", "dtype"))
        or (hasattr(kind, "__getitem__") and {"shape", "dtype"} <= _state(obj).keys())
    ) and not any(hasattr(kind, name) for name in _COMPUTING):
        return "array that can be indexed"
    return None


def _state(obj: Any) -> dict[str, Any]:
    try:
        state = dict(object.__getattribute__(obj, "__dict__"))
    except AttributeError:
        state = {}
    for parent in type(obj).__mro__:
        slots = vars(parent).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            try:
                state[name] = object.__getattribute__(obj, name)
            except AttributeError:  # Not set, or of a mangled name.
                continue
    return state
