"""The Pangeo notebook of 2020 on two clouds, with its data made small: in one call, and by hand.

It took hourly precipitation of the reanalysis ERA5, in one cloud, and of the model
ensemble LENS, in another; summed each over six hours, counted how often how much rain
falls at each latitude, and averaged over time. Two Dask Gateways did the work, each beside
its data, and all that was between them was done by hand.

Source: "Multi-Cloud Workflow with Pangeo", T. Augspurger and others, Medium, 2020.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from benchmarks.harness.declared import DeclaredVariable
from benchmarks.harness.workloads import Opener, open_declared
from xr_locality.api import compute
from xr_locality.regions.region import Region

if TYPE_CHECKING:
    from xr_locality.testing.testbed import EmulatedRegion

__all__ = ["Precipitation", "by_hand", "count_lines", "histogram", "in_one_call"]

ERA5_REGION: Final = Region.parse("gcp:us-central1")
LENS_REGION: Final = Region.parse("aws:us-west-2")

#: Edges of 51 bins of millimetres in six hours, each wider than the one before.
_EDGES: Final = np.concatenate([[0.0], np.geomspace(0.1, 100.0, 51)])
#: Metres an hour of ERA5, and metres a second of LENS, that a stored one means.
_METRES: Final = 2e-6
_METRES_PER_SECOND: Final = _METRES / 3600
_MILLIMETRES: Final = 1000.0
_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Precipitation:
    """The two datasets, with all their dimensions and fewer cells.

    Attributes
    ----------
    hours : int
        Hours of each; a multiple of 24.
    shrink : int
        Divides the cells along latitude and along longitude: 1 gives the real grids, of
        720 × 1440 cells for ERA5 and 192 × 288 for each of LENS' members. It divides 48.
    opener : callable
        Opens them. By default chunks are made when they are read.
    """

    hours: int = 96
    shrink: int = 8
    opener: Opener = open_declared

    def era5(self) -> xr.Dataset:
        """Open ERA5: ``tp``, hourly, in metres."""
        return self._open("era5", ERA5_REGION, "tp", (720, 1440), scale=_METRES)

    def lens(self) -> xr.Dataset:
        """Open LENS: ``PRECT`` of forty members, hourly, in metres a second."""
        return self._open(
            "lens", LENS_REGION, "PRECT", (192, 288), scale=_METRES_PER_SECOND, members=40
        )

    def _open(
        self,
        name: str,
        region: Region,
        variable: str,
        cells: tuple[int, int],
        *,
        scale: float,
        members: int = 0,
    ) -> xr.Dataset:
        latitudes, longitudes = (each // self.shrink for each in cells)
        coords: dict[str, Any] = {
            "time": (np.arange(self.hours), {"units": "hours since 1990-01-01"}),
            "lat": ((np.arange(latitudes) + 0.5) / latitudes * 180 - 90, {}),
            "lon": (np.arange(longitudes) / longitudes * 360, {}),
        }
        dims: tuple[str, ...] = ("time", "lat", "lon")
        chunks: tuple[int, ...] = (24, latitudes, longitudes)
        if members:
            coords["member_id"] = (np.arange(1, members + 1), {})
            dims, chunks = ("member_id", *dims), (1, *chunks)
        declared = DeclaredVariable(dims=dims, chunks=chunks, attrs={"scale_factor": scale})
        stored = f"{name}-{self.hours}-{self.shrink}"
        return self.opener(stored, region, coords, {variable: declared})

    def lazy(self) -> Any:
        """Make the two histograms, lazily."""
        return histograms(self.era5(), self.lens())

    def by_hand(self, compute: Any) -> Any:
        """Compute each with a client of its own."""
        era5, lens = histograms(self.era5(), self.lens())
        done = compute({ERA5_REGION: era5, LENS_REGION: lens})
        return done[ERA5_REGION], done[LENS_REGION]


def histograms(era5: xr.Dataset, lens: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Count, at each latitude, how often how much rain falls in six hours."""
    rain = era5.tp * _MILLIMETRES
    modelled = lens.PRECT.isel(member_id=0) * _SECONDS * _MILLIMETRES
    return tuple(  # type: ignore[return-value]
        histogram(each.coarsen(time=6).sum()).mean("time") for each in (rain, modelled)
    )


def histogram(rain: xr.DataArray) -> xr.DataArray:
    """Count values along longitude.

    Parameters
    ----------
    rain : DataArray
        In millimetres, with ``lon`` in one chunk.

    Returns
    -------
    DataArray
        With ``bin`` of length 51 in place of ``lon``.
    """
    counted: xr.DataArray = xr.apply_ufunc(
        count,
        rain,
        input_core_dims=[["lon"]],
        output_core_dims=[["bin"]],
        dask="parallelized",
        output_dtypes=[np.int64],
        dask_gufunc_kwargs={"output_sizes": {"bin": len(_EDGES) - 1}},
    )
    return counted


def count(rain: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Count the values of each row by bins; shapes ``(..., n)`` and ``(..., 51)``."""
    n_bins = len(_EDGES) - 1
    bins = np.searchsorted(_EDGES, rain, side="right") - 1
    rows = bins.clip(0, n_bins - 1).reshape(-1, rain.shape[-1])
    first = np.arange(len(rows))[:, None] * n_bins
    counts = np.bincount((rows + first).ravel(), minlength=len(rows) * n_bins)
    return counts.reshape(*rain.shape[:-1], n_bins)


def in_one_call(catalog: Any) -> tuple[xr.DataArray, xr.DataArray]:
    """Do the analysis with this library: endpoints are configured, entries are tagged."""
    era5, lens = catalog.era5.to_dask(), catalog.lens.to_dask()
    return compute(*histograms(era5, lens))


def by_hand(
    era5_at: EmulatedRegion, lens_at: EmulatedRegion, urls: Mapping[str, str]
) -> tuple[xr.DataArray, xr.DataArray]:
    """Do the analysis as the notebook did: two of everything."""
    from dask_gateway import BasicAuth, Gateway

    gcp_gateway = Gateway(
        era5_at.gateway.address,
        proxy_address=era5_at.gateway.proxy_address,
        auth=BasicAuth(era5_at.gateway.username, era5_at.gateway.password),
    )
    aws_gateway = Gateway(
        lens_at.gateway.address,
        proxy_address=lens_at.gateway.proxy_address,
        auth=BasicAuth(lens_at.gateway.username, lens_at.gateway.password),
    )
    gcp_cluster = gcp_gateway.new_cluster()
    aws_cluster = aws_gateway.new_cluster()
    gcp_client = gcp_cluster.get_client(set_as_default=False)
    aws_client = aws_cluster.get_client(set_as_default=False)
    gcp_cluster.adapt(minimum=1, maximum=2)
    aws_cluster.adapt(minimum=1, maximum=2)
    era5 = xr.open_zarr(urls["era5"], storage_options=era5_at.objects.storage_options)
    lens = xr.open_zarr(urls["lens"], storage_options=lens_at.objects.storage_options)
    era5_histogram, lens_histogram = histograms(era5, lens)
    era5_future = gcp_client.compute(era5_histogram, retries=2)
    lens_future = aws_client.compute(lens_histogram, retries=2)
    done = era5_future.result(), lens_future.result()
    gcp_client.close()
    aws_client.close()
    gcp_cluster.close()
    aws_cluster.close()
    gcp_gateway.close()
    aws_gateway.close()
    return done


def count_lines(function: Any) -> int:
    """Count the lines of a function's body, without its docstring and its blank lines."""
    lines = inspect.getsource(function).splitlines()
    start = next(number for number, line in enumerate(lines) if line.rstrip().endswith('."""'))
    return sum(bool(line.strip()) for line in lines[start + 1 :])
