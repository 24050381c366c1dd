"""The data of the demonstration: two climate model runs, and a larger field."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import xarray as xr

__all__ = ["daily_field", "model_run"]

_DAYS_A_YEAR: Final = 360
#: The grid of the model runs at twice their resolution.
_LATITUDE: Final = np.linspace(15, 60, 73, dtype="f4")
_LONGITUDE: Final = np.linspace(225, 315, 97, dtype="f4")
_YEAR_NBYTES: Final = _DAYS_A_YEAR * _LATITUDE.size * _LONGITUDE.size * 4


def model_run(scenario: str) -> xr.Dataset:
    """Read a climate model's air temperatures over North America, 1860 to 2099.

    One map a year, from the package ``iris-sample-data``: the Met Office's model
    under an emissions scenario. The calendar has 360 days.

    Parameters
    ----------
    scenario : {"A1B", "E1"}
        Emissions that go on growing to 2050, or are cut early.

    Returns
    -------
    xarray.Dataset
        ``air_temperature`` in K, in memory.
    """
    import iris_sample_data

    path = Path(iris_sample_data.path, f"{scenario}_north_america.nc")
    decode_times = xr.coders.CFDatetimeCoder(use_cftime=True)
    with xr.open_dataset(path, engine="netcdf4", decode_times=decode_times) as run:
        # Without the scalar coordinates: xarray would read those of both runs to
        # this machine, to compare them, at the first subtraction.
        temperatures = run[["air_temperature"]].reset_coords(drop=True).load().drop_encoding()
    temperatures.air_temperature.encoding["chunks"] = (30, 37, 49)
    return temperatures


def daily_field(*, nbytes: int, warming: float, seed: int) -> xr.Dataset:
    """Generate daily temperatures up to the end of 2099: seasons, and noise.

    Parameters
    ----------
    nbytes : int
        At least as many bytes, rounded up to whole years; stored, too, for noise
        does not compress.
    warming : float
        Degrees above the climate that another field has, in K.
    seed : int
        Of the noise.

    Returns
    -------
    xarray.Dataset
        ``tas`` in K, in memory.
    """
    years = -(-nbytes // _YEAR_NBYTES)
    n_days = years * _DAYS_A_YEAR
    time = xr.date_range(
        f"{2100 - years}-01-01", periods=n_days, calendar="360_day", use_cftime=True
    )
    seasons = -10 * np.cos(2 * np.pi * np.arange(_DAYS_A_YEAR) / _DAYS_A_YEAR)
    climate = 295 + warming - 0.7 * (_LATITUDE - _LATITUDE[0])
    expected = (seasons[:, np.newaxis, np.newaxis] + climate[:, np.newaxis]).astype("f4")
    random = np.random.default_rng(seed)
    values = np.empty((n_days, _LATITUDE.size, _LONGITUDE.size), dtype="f4")
    # In place and a year at a time: there may be hundreds of megabytes.
    for year in values.reshape(years, _DAYS_A_YEAR, *values.shape[1:]):
        random.random(dtype="f4", out=year)
        np.multiply(year, 10, out=year)
        np.add(year, expected, out=year)
    field = xr.Dataset(
        {"tas": (("time", "lat", "lon"), values, {"units": "K"})},
        coords={"time": time, "lat": _LATITUDE, "lon": _LONGITUDE},
    )
    field.tas.encoding = {
        "chunks": (_DAYS_A_YEAR, _LATITUDE.size, _LONGITUDE.size),
        # To compress noise takes seconds and saves nothing worth them.
        "compressors": None,
    }
    return field
