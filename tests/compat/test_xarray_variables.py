from __future__ import annotations

from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from xarray.core import indexing

from xr_locality.compat.xarray_variables import data_of, in_memory, is_loaded
from xr_locality.errors import MissingDependencyError


def test_variables() -> None:
    """Arrays in memory and lazy ones are told apart, and neither is loaded."""
    lazy = da.ones(3)
    assert data_of(xr.Variable("x", lazy)) is lazy
    assert not in_memory(xr.Variable("x", lazy))
    assert in_memory(xr.Variable("x", np.ones(3)))
    assert in_memory(xr.IndexVariable("x", np.arange(3)))
    wrapped = indexing.LazilyIndexedArray(np.ones(3))
    assert not in_memory(xr.Variable("x", wrapped))
    assert not is_loaded(xr.Variable("x", wrapped))
    assert is_loaded(np.ones(3))


def test_variable_of_another_layout() -> None:
    """A renamed attribute is named, with the version that was known."""
    with pytest.raises(MissingDependencyError, match=r"no xarray.Variable._data"):
        data_of(SimpleNamespace())  # type: ignore[arg-type]
    with pytest.raises(MissingDependencyError, match=r"no xarray.Variable._in_memory"):
        in_memory(SimpleNamespace())  # type: ignore[arg-type]
