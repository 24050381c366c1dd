"""Two emulated regions with data in them, for the pages' code.

``start()`` gives a page what its reader has: gateways in two regions, a catalog, and
dask's configuration. All of it ends with the page's kernel.
"""

import os
import tempfile
import warnings
from pathlib import Path

import dask
import numpy as np
import xarray as xr

from xr_locality.testing import Testbed

__all__ = ["daily_field", "start"]

# zarr warns of consolidated metadata in format 3, which no page is about.
warnings.filterwarnings("ignore", module="zarr")

_RUNS = {"a1b": "aws:us-west-2", "e1": "gcp:us-central1"}


def daily_field(years: int, *, seed: int) -> xr.Dataset:
    """Make a field of daily temperatures that does not compress."""
    shape = (365 * years, 73, 96)
    noise = np.random.default_rng(seed).standard_normal(shape, dtype="f4")
    field = xr.Dataset(
        {"tas": (("time", "lat", "lon"), 285 + 5 * noise, {"units": "K"})},
        coords={
            "time": np.arange(shape[0]),
            "lat": np.linspace(-90, 90, shape[1]),
            "lon": np.arange(0, 360, 360 / shape[2]),
        },
    )
    field.tas.encoding = {"chunks": (365, *shape[1:]), "compressors": None}
    return field


def start(*, years: int = 4, configure: bool = True) -> Testbed:
    """Start two regions, write a field into each, and go where ``catalog.yaml`` is.

    Parameters
    ----------
    years : int
        Years of days in each field; a year is 10 MB.
    configure : bool
        Name the gateways in dask's configuration.
    """
    bed = Testbed(_RUNS.values())
    bed.start()
    urls = {
        name: bed.write(daily_field(years, seed=seed), region, f"{name}.zarr")
        for seed, (name, region) in enumerate(_RUNS.items())
    }
    directory = Path(tempfile.mkdtemp(dir=bed.directory))
    bed.catalog(directory / "catalog.yaml", urls)
    os.chdir(directory)
    if configure:
        # One worker a region: whoever builds the pages may have two cores.
        dask.config.set(locality=bed.config(minimum=1, maximum=1))
    return bed
