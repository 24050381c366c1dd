"""Two small datasets like two climate models' output, each in a region of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import xarray as xr

from support.pair import REGIONS, open_pair, write_pair

__all__ = ["REGIONS", "open_models", "write_models"]

_DAYS: Final = 72
_SHAPE: Final = (_DAYS, 6, 8)


def write_models(folder: Path) -> tuple[str, str]:
    """Write the two datasets as zarr stores, of both formats and of different chunks.

    Parameters
    ----------
    folder : Path
        Where.

    Returns
    -------
    tuple of str
        The paths of the two. Each has temperature ``t`` and specific humidity ``q``
        (packed as integers), winds ``u`` and ``v``, all over 72 days × 6 latitudes ×
        8 longitudes; the kind of surface ``land`` (0, 1, 2) and the cells' ``area``.
        Grids are the same; the second dataset begins twelve days later.
    """
    random = np.random.default_rng(2026)
    chunks = ({"time": 18, "lat": 3}, {"time": 24, "lon": 4})
    models = [_model(random, number).chunk(each) for number, each in enumerate(chunks)]
    packed = {"dtype": "i2", "scale_factor": 1e-3, "_FillValue": -999}
    return write_pair(folder, models, encoding={"q": packed})


def open_models(paths: tuple[str, str]) -> tuple[xr.Dataset, xr.Dataset]:
    """Open what :func:`write_models` wrote, each tagged with its region.

    Parameters
    ----------
    paths : tuple of str
        The two stores.

    Returns
    -------
    tuple of Dataset
        Lazy, in the :data:`REGIONS`.
    """
    return open_pair(paths)


def _model(random: np.random.Generator, number: int) -> xr.Dataset:
    lat = np.linspace(-75.0, 75.0, _SHAPE[1])
    lon = np.linspace(0.0, 315.0, _SHAPE[2])
    field = {"dims": ("time", "lat", "lon")}
    surface = {"dims": ("lat", "lon")}
    temperature = 288 + 20 * np.cos(np.deg2rad(lat))[:, np.newaxis] + random.normal(size=_SHAPE)
    temperature[5:9, 2, 3 + number] = np.nan
    area = np.broadcast_to(np.cos(np.deg2rad(lat))[:, np.newaxis], _SHAPE[1:]).copy()
    return xr.Dataset(
        {
            "t": xr.Variable(data=temperature.astype("f4"), attrs={"units": "K"}, **field),
            "q": xr.Variable(
                data=random.random(_SHAPE).round(3), attrs={"units": "kg/kg"}, **field
            ),
            "u": xr.Variable(data=random.normal(size=_SHAPE), attrs={"units": "m/s"}, **field),
            "v": xr.Variable(data=random.normal(size=_SHAPE), attrs={"units": "m/s"}, **field),
            "land": xr.Variable(data=random.integers(0, 3, _SHAPE[1:], dtype="i1"), **surface),
            "area": xr.Variable(data=area, attrs={"units": "1"}, **surface),
        },
        coords={
            "time": pd.date_range("2001-01-01", periods=_DAYS) + pd.Timedelta(12 * number, "D"),
            "lat": ("lat", lat, {"units": "degrees_north"}),
            "lon": ("lon", lon, {"units": "degrees_east"}),
        },
        attrs={"title": f"model {number}"},
    )
