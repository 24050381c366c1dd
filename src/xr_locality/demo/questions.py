"""The questions that the demonstration asks, in plain lazy xarray.

What it prints as the code is the source of these very functions.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

__all__ = ["Question", "difference", "lines_of", "warming"]

#: Takes an Intake catalog, returns what is asked for: lazy.
Question: TypeAlias = Callable[[Any], xr.Dataset]


def warming(cat: Any) -> xr.Dataset:
    """Ask how much warmer 2070 to 2099 is under A1B than under E1."""
    # Not ``warmer.weighted(weights)``: its einsum rounds otherwise where an array is
    # not aligned in memory, as those that a worker has received may be.
    a1b = cat.a1b.to_dask().air_temperature.sel(time=slice("2070", "2099"))
    e1 = cat.e1.to_dask().air_temperature.sel(time=slice("2070", "2099"))
    warmer = a1b.mean("time") - e1.mean("time")
    weights = np.cos(np.deg2rad(warmer.latitude))
    average = (warmer * weights).mean() / weights.mean()
    warming = xr.Dataset({"warmer": warmer, "average": average})
    return warming  # noqa: RET504 - what is printed needs a name for the result


def difference(cat: Any) -> xr.Dataset:
    """Ask for the difference of the means of two daily fields."""
    a1b = cat.daily_a1b.to_dask().tas
    e1 = cat.daily_e1.to_dask().tas
    difference = xr.Dataset({"tas": a1b.mean("time") - e1.mean("time")})
    return difference  # noqa: RET504 - what is printed needs a name for the result


def lines_of(question: Question) -> str:
    """Return the code of a question, without what makes it a function.

    Parameters
    ----------
    question : callable
        One of this module. The name that it returns is its own.

    Returns
    -------
    str
        Lines that run where ``cat``, ``np`` and ``xr`` are known.
    """
    source = textwrap.dedent(inspect.getsource(question))
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    # Between the docstring, with what comments it, and the return.
    first, last = function.body[1], function.body[-2]
    lines = source.splitlines()[first.lineno - 1 : last.end_lineno]
    return textwrap.dedent("\n".join(lines))
