"""Private names of xarray: each is there, and is what the library takes it for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from xarray.backends import CachingFileManager

from xr_locality.compat import xarray_backends as compat
from xr_locality.compat.xarray_variables import data_of


def test_file_manager_names_its_call() -> None:
    """Opener, arguments and options are those that it was made with."""
    manager: CachingFileManager[Any] = CachingFileManager(open, "a.txt", kwargs={"newline": ""})
    assert compat.is_file_manager(manager)
    assert compat.managed_file(manager) == (open, ("a.txt",), {"newline": ""})


def test_object_that_opens_nothing_names_no_call() -> None:
    """Another object is none of xarray's managers."""
    assert not compat.is_file_manager(object())
    assert compat.managed_file(object()) is None


@pytest.mark.parametrize(
    ("engine", "package"), [("h5netcdf", "h5netcdf"), ("netcdf4", "netCDF4"), ("scipy", "scipy")]
)
def test_variable_of_a_file_leads_to_its_file(engine: Any, package: str, tmp_path: Path) -> None:
    """A lazy variable is known by its class, and its data and manager are found unread."""
    pytest.importorskip(package)
    path = tmp_path / "a.nc"
    xr.Dataset({"a": ("x", np.arange(4.0))}).to_netcdf(path, engine=engine)
    with xr.open_dataset(path, engine=engine) as opened:
        array: Any = data_of(opened.variables["a"])
        while not compat.is_netcdf_array(array):
            assert compat.is_indexing_adapter(array)
            array = array.array
        assert compat.is_scipy_array(array) == (engine == "scipy")
        manager, group = compat.array_manager(array)
        assert compat.managed_file(manager) is not None
        assert group in (None, "/")
        inside = compat.stored_h5_dataset(array.datastore.ds.variables["a"])
        assert (inside is not None) == (engine == "h5netcdf")


def test_class_that_is_gone_matches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where xarray renames a class, no object is taken for one of it."""
    import xarray.backends.scipy_

    compat._classes.cache_clear()
    monkeypatch.delattr(xarray.backends.scipy_, "ScipyArrayWrapper")
    assert not compat.is_scipy_array(object())
    compat._classes.cache_clear()


def test_mode_of_a_file_manager(tmp_path: Path) -> None:
    """A manager that may write is told from one that reads."""
    path = tmp_path / "a"
    path.touch()
    modes = {
        mode: compat.is_open_for_writing(CachingFileManager(open, path, mode=mode))
        for mode in "rwa"
    }
    assert modes == {"r": False, "w": True, "a": True}
