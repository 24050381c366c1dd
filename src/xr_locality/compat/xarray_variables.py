"""Xarray's variables without loading them.

Public attributes of a variable (``data``, ``values``) load what is lazy without chunks, and
nothing public says whether a variable's values are in memory. Last verified with xarray
2026.9.0; 2025.12.0 is the oldest that is tested. A variable of unknown layout is refused.
"""

from __future__ import annotations

from typing import Any, Final

import xarray as xr
from dask.base import is_dask_collection

from xr_locality.compat.private_names import missing_name
from xr_locality.compat.xarray_backends import is_indexing_adapter

__all__ = ["data_of", "in_memory", "is_loaded"]

_VERIFIED: Final = "2026.9.0"


def data_of(variable: xr.Variable) -> Any:
    """Get the array that a variable wraps, as it is."""
    try:
        return variable._data
    except AttributeError:
        raise missing_name("xarray", "Variable._data", verified=_VERIFIED) from None


def in_memory(variable: xr.Variable) -> bool:
    """Whether a variable's values are in memory: only what xarray reads lazily is not.

    xarray asks ``_in_memory`` before it loads, which says no of arrays that are not numpy's,
    such as those with units and sparse ones.
    """
    try:
        # The levels of a MultiIndex say no, but an index is never loaded and has no chunks.
        return (
            isinstance(variable, xr.IndexVariable)
            or variable._in_memory
            or not (is_indexing_adapter(variable._data) or is_dask_collection(variable._data))
        )
    except AttributeError:
        raise missing_name("xarray", "Variable._in_memory", verified=_VERIFIED) from None


def is_loaded(array: object) -> bool:
    """Whether the values of a variable or of any other array are in memory, as far as it says."""
    return bool(getattr(array, "_in_memory", True))
