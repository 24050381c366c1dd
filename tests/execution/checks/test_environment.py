"""Packages that a graph needs elsewhere, and versions that fit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xr_locality.execution.checks.environment import COMPARED, compare, installed, needed_by


def needed(collection: Any) -> frozenset[str]:
    """Name what a collection's graph needs."""
    return needed_by(collection.__dask_graph__().layers.values())


def test_plain_arrays_need_numpy_alone() -> None:
    """What every worker has, and Python's own, is not listed."""
    assert needed(da.ones((4, 4), chunks=2).sum()) == {"numpy"}


def test_packages_of_a_source(tmp_path: Path) -> None:
    """Arrays, stores and codecs bring the packages that define them."""
    xr.Dataset({"t": ("x", np.arange(8.0))}).to_zarr(tmp_path / "t.zarr", zarr_format=2)
    array = xr.open_zarr(tmp_path / "t.zarr", chunks={}).t
    assert {"xarray", "zarr", "numcodecs"} <= needed(array)
    assert "fsspec" not in needed(array)


def test_functions_by_value_bring_what_they_refer_to() -> None:
    """A notebook's function is sent along; the packages that it uses are not."""
    namespace: dict[str, Any] = {"__name__": "__main__", "pd": pd}
    exec("def count(block):\n    return pd.Series(block)", namespace)
    mapped = da.ones(4, chunks=2).map_blocks(namespace["count"], dtype=float, meta=np.ones(0))
    assert "pandas" in needed(mapped)
    assert "__main__" not in needed(mapped)


def test_module_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module beside the notebook is needed like any package."""
    (tmp_path / "beside_the_notebook.py").write_text("def f(block):\n    return block\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import beside_the_notebook  # type: ignore[import-not-found]

    mapped = da.ones(4, chunks=2).map_blocks(beside_the_notebook.f, dtype=float)
    assert "beside_the_notebook" in needed(mapped)
    sys.modules.pop("beside_the_notebook")


def test_what_does_not_pickle_is_left_for_later() -> None:
    """Such a graph fails where it is sent, with dask's own words."""
    import threading

    mapped = da.ones(4, chunks=2).map_blocks(
        threading.Lock().__class__, dtype=float, meta=np.ones(0)
    )
    assert isinstance(needed(mapped), frozenset)


@pytest.mark.parametrize(
    ("package", "there", "serious"),
    [
        ("python", "3.9.1.final.0", True),
        ("python", "{0}.{1}.99.final.0", False),
        ("dask", "2020.1.0", True),
        ("dask", "{0}.{1}.99", False),
        ("distributed", "2020.1.0", True),
        ("numpy", "1.0.0", True),
        ("numpy", "{0}.99.0", False),
        ("zarr", "2.18.0", True),
        ("numcodecs", "0.1.0", False),
        ("xarray", "2020.1.0", False),
    ],
)
def test_what_is_serious(package: str, there: str, serious: bool) -> None:
    """Python's minor version, releases of dask, and major versions are; the rest is not."""
    here = installed(COMPARED)
    parts = here[package].split(".")
    (found,) = compare(
        here, {**here, package: there.format(*parts)}, ["zarr", "numcodecs", "xarray"]
    )
    assert (found.package, found.serious) == (package, serious)


def test_equal_unknown_and_unneeded_are_no_difference() -> None:
    """Versions are compared as far as both sides know them and the graph needs them."""
    here = installed(COMPARED)
    assert compare(here, here, COMPARED) == []
    assert compare(here, {"numpy": None}, COMPARED) == []
    assert compare(here, {"zarr": "2.0.0"}, ["xarray"]) == []
    assert compare(here, {"python": f"{here['python']}.final.0"}, []) == []
