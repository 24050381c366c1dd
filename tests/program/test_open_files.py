"""Open files that are pickled as what opens them."""

import pickle
from pathlib import Path
from typing import Any

import cloudpickle
import fsspec
import numpy as np
import pytest
import scipy.io
import xarray as xr
from dask.highlevelgraph import Layer
from xarray.backends import CachingFileManager

from xr_locality.program.open_files import reopening

VALUES = np.arange(2000.0).reshape(100, 20)


@pytest.fixture
def netcdf3(tmp_path: Path) -> str:
    """Write a netCDF 3 file."""
    path = str(tmp_path / "a.nc")
    xr.Dataset({"tp": (("time", "x"), VALUES)}).to_netcdf(path, engine="scipy")
    return path


def reading(dataset: xr.Dataset) -> Layer:
    """Return the layer that holds a dataset's file."""
    layers = dataset.tp.data.dask.layers
    return next(layer for name, layer in layers.items() if name.startswith("original-"))


def manager(layer: Layer) -> Any:
    """Return the file that a layer holds, as another process has it."""
    (task,) = pickle.loads(cloudpickle.dumps(layer)).values()
    array = getattr(task, "value", task)
    while not hasattr(array, "datastore"):
        array = array.array
    return array.datastore._manager


def test_netcdf_3_file_does_not_bring_its_data_along(netcdf3: str) -> None:
    """A file that scipy has read is opened again where it is used, and not before."""
    with fsspec.open(netcdf3) as opened:
        dataset = xr.open_dataset(opened, engine="scipy", chunks={})
        before = reading(dataset)
        after = reopening(before)
        assert len(cloudpickle.dumps(after)) < VALUES.nbytes / 2 < len(cloudpickle.dumps(before))
        again = manager(after)
        assert isinstance(again, CachingFileManager)
        with again.acquire() as file:
            assert isinstance(file, scipy.io.netcdf_file)
            np.testing.assert_array_equal(file.variables["tp"][:], VALUES)
        dataset.close()


def test_file_of_pythons_own_is_opened_by_its_path(tmp_path: Path) -> None:
    """A local file that is open, as caches have it, cannot be pickled, and its path can."""
    pytest.importorskip("h5netcdf")
    path = tmp_path / "a.nc"
    xr.Dataset({"tp": (("time", "x"), VALUES)}).to_netcdf(path, engine="h5netcdf")
    with path.open("rb") as opened, xr.open_dataset(opened, engine="h5netcdf", chunks={}) as lazy:
        layer = reading(lazy)
        with pytest.raises(TypeError, match="pickle"):
            cloudpickle.dumps(layer)
        again = manager(reopening(layer))
        np.testing.assert_array_equal(again.acquire()["tp"][:], VALUES)
        again.close()


def test_layers_without_files_are_kept() -> None:
    """A layer that holds no open file is the same one."""
    layer = next(iter(xr.Dataset({"tp": ("x", VALUES[0])}).chunk(x=5).tp.data.dask.layers.values()))
    assert reopening(layer) is layer
