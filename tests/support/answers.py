"""The answer that dask alone gives, and whether another is the same to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dask
import numpy as np
import pandas as pd
import xarray as xr
from dask.base import compute as dask_compute
from dask.base import is_dask_collection

__all__ = ["assert_same", "compute_plainly"]


def compute_plainly(*objects: Any, scheduler: Any = "sync") -> tuple[Any, ...]:
    """Compute objects without xr-locality.

    Each xarray object is computed by itself: ``dask.compute`` of a Dataset fails where
    one variable derives from another. All else is computed together.

    Parameters
    ----------
    *objects : Any
        As ``dask.compute`` takes them.
    scheduler : str or Client, optional
        As ``dask.config`` takes it; by default this thread, one task after the other.

    Returns
    -------
    tuple
    """
    with dask.config.set(scheduler=scheduler):
        return tuple(map(_compute, objects))


def assert_same(got: Any, expected: Any) -> None:
    """Assert that two answers agree in everything that a user can see.

    Types, values bit by bit, dtypes, names, coordinates, attributes, encodings; and
    that nothing is left lazy.

    Parameters
    ----------
    got, expected : Any
        Containers of xarray objects, arrays, tables and other values.

    Raises
    ------
    AssertionError
        If they differ.
    """
    assert type(got) is type(expected), f"{type(got)} instead of {type(expected)}"
    if isinstance(expected, dict):
        assert list(got) == list(expected)
        assert_same(list(got.values()), list(expected.values()))
    elif isinstance(expected, list | tuple):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, xr.DataTree | xr.Dataset | xr.DataArray):
        _assert_loaded(got)
        xr.testing.assert_identical(got, expected)
        pairs = zip(_variables(got), _variables(expected), strict=True)
        for (name, one), (other_name, other) in pairs:
            assert name == other_name
            _assert_same_values(one.values, other.values, name)
            # By their text: a fill value of nan is not equal to itself.
            assert repr(one.encoding) == repr(other.encoding), f"{name}: encodings differ"
            assert list(one.attrs) == list(other.attrs), f"{name}: the order of attributes differs"
    elif isinstance(expected, np.ndarray | np.generic):
        _assert_same_values(got, expected, "array")
    elif isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(got, expected, check_exact=True)
    elif isinstance(expected, pd.Series):
        pd.testing.assert_series_equal(got, expected, check_exact=True)
    elif isinstance(expected, pd.Index):
        pd.testing.assert_index_equal(got, expected, exact=True)
    else:
        assert got == expected


def _compute(item: Any) -> Any:
    if isinstance(item, xr.DataTree | xr.Dataset | xr.DataArray | xr.Variable):
        return item.compute()
    if isinstance(item, list) and any(isinstance(each, xr.DataArray) for each in item):
        return list(map(_compute, item))
    if isinstance(item, dict):
        return type(item)((name, _compute(each)) for name, each in item.items())
    return dask_compute(item)[0]


def _variables(item: Any) -> Iterator[tuple[str, xr.Variable]]:
    if isinstance(item, xr.DataTree):
        for path, node in item.subtree_with_keys:
            for name, variable in node.variables.items():
                yield f"{path}/{name}", variable
    elif isinstance(item, xr.Dataset):
        for name, variable in item.variables.items():
            yield str(name), variable
    else:
        yield "the values", item.variable
        for name, coord in item.coords.items():
            yield f"coordinate {name}", coord.variable


def _assert_loaded(item: Any) -> None:
    for name, variable in _variables(item):
        assert not is_dask_collection(variable._data), f"{name} is still a dask array"
        in_memory = isinstance(variable, xr.IndexVariable) or variable._in_memory
        assert in_memory, f"{name} is still to be read"


def _assert_same_values(got: Any, expected: Any, name: str) -> None:
    one, other = np.asarray(got), np.asarray(expected)
    assert one.dtype == other.dtype, f"{name}: {one.dtype} instead of {other.dtype}"
    assert one.shape == other.shape, f"{name}: {one.shape} instead of {other.shape}"
    if one.dtype.hasobject:
        np.testing.assert_array_equal(one, other)
    else:
        assert one.tobytes() == other.tobytes(), f"{name}: values differ"
