"""What xr-locality is measured on: eight analyses at real scale, without real data.

The datasets are declared: hourly fields of a reanalysis on a quarter-degree grid,
and of climate models on a one-degree grid, in chunks of 25 MB as float32 that are
stored as half of that. No chunk exists until it is read, unless a testbed stores them.

Each comes also as its split by hand, as a user with a client for each
region: what takes one region's data is computed there, and results meet in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np
import xarray as xr

from benchmarks.harness.declared import DeclaredStore, DeclaredVariable, declare
from xr_locality.api import tag
from xr_locality.regions.region import Region

__all__ = ["WORKLOADS", "ByHand", "Opener", "Workload", "open_declared"]

AWS: Final = Region.parse("aws:us-west-2")
GCP: Final = Region.parse("gcp:us-central1")
AZURE: Final = Region.parse("azure:westeurope")

#: Hours of each dataset for each unit of scale: four chunks of the fine grid, one of the coarse.
_HOURS: Final = 96
#: Coarse cells along latitude and longitude; the fine grid has four for each.
_CELLS: Final = (180, 360)

#: Opens a dataset that is declared: its name, region, coordinates and variables.
Opener: TypeAlias = Callable[
    [str, Region, Mapping[str, Any], Mapping[str, DeclaredVariable]], xr.Dataset
]

#: Computes something lazy in each of some regions at once, as clients of these do.
ByHand: TypeAlias = Callable[[Mapping[Region, Any]], Mapping[Region, Any]]


def open_declared(
    name: str,
    region: Region,
    coords: Mapping[str, Any],
    variables: Mapping[str, DeclaredVariable],
) -> xr.Dataset:
    """Open a dataset whose chunks are made when they are read, tagged with a region."""
    store: DeclaredStore = declare(name, coords=coords, variables=variables)
    opened: xr.Dataset = xr.open_zarr(store, chunks={}, consolidated=False)
    return tag(opened, region)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """An analysis that is measured.

    Attributes
    ----------
    name : str
        Unique among the workloads.
    description : str
        What it computes, in one sentence.
    regions : tuple of Region
        Where its data are stored.
    helps : bool
        Whether a split moves fewer bytes than the best single region, which may read
        the stored bytes of the others' data from another region.
    tasks : int
        About how many tasks of the unoptimised graph each unit of scale makes.
    """

    name: str
    description: str
    regions: tuple[Region, ...]
    helps: bool
    tasks: int
    _build: Callable[[_Grid], Any] = field(repr=False)
    _by_hand: Callable[[_Grid, ByHand], Any] = field(repr=False)

    def build(self, scale: int = 1, *, shrink: int = 1, opener: Opener = open_declared) -> Any:
        """Make the lazy object; reads no chunk.

        Parameters
        ----------
        scale : int, optional
            Multiplies the chunks along time: 1 is four days, 90 a year, 9000 a century.
            See :meth:`scale_for`.
        shrink : int, optional
            Divides the cells of both grids along latitude and along longitude, and
            with them the bytes, but no number of chunks. It divides 180. With 30 a
            workload of scale 1 runs in a second.
        opener : callable, optional
            Opens each dataset. By default chunks are made when they are read.

        Returns
        -------
        Dataset or DataArray
            Tagged with its regions.
        """
        return self._build(_Grid(hours=_HOURS * scale, shrink=shrink, opener=opener))

    def run_by_hand(
        self,
        compute: ByHand,
        *,
        scale: int = 1,
        shrink: int = 1,
        opener: Opener = open_declared,
    ) -> Any:
        """Do the work as it is done without this library.

        Parameters
        ----------
        compute : callable
            Computes lazy objects, each in the region that it is given for.
        scale, shrink, opener
            As for :meth:`build`.

        Returns
        -------
        Dataset or DataArray
            What computing the lazy object gives, but for rounding.
        """
        grid = _Grid(hours=_HOURS * scale, shrink=shrink, opener=opener)
        return self._by_hand(grid, compute)

    def scale_for(self, n_tasks: int) -> int:
        """Return the scale at which the unoptimised graph has about so many tasks."""
        return max(1, round(n_tasks / self.tasks))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    """Opens the datasets, at one scale."""

    hours: int
    shrink: int
    opener: Opener

    def reanalysis(self, region: Region, *, name: str = "reanalysis") -> xr.Dataset:
        """Open hourly temperature on the fine grid, with the height of the surface."""
        fields = DeclaredVariable(
            dims=("time", "lat", "lon"),
            chunks=(24, self._cells(0) * 2, self._cells(1) * 2),
            attrs={"units": "K"},
        )
        surface = DeclaredVariable(
            dims=("lat", "lon"), chunks=(self._cells(0) * 4, self._cells(1) * 4)
        )
        coords = {"time": self._time(), **self._places(4)}
        return self._open(name, region, coords, {"t": fields, "height": surface})

    def model(self, region: Region, *, name: str, after: int = 0) -> xr.Dataset:
        """Open hourly temperature on the coarse grid, alone and at four levels.

        Parameters
        ----------
        after : int, optional
            Hours of a dataset before it.
        """
        lat, lon = self._cells(0), self._cells(1)
        fields = DeclaredVariable(dims=("time", "lat", "lon"), chunks=(96, lat, lon))
        levels = DeclaredVariable(
            dims=("time", "level", "lat", "lon"), chunks=(24, 4, lat, lon), attrs={"units": "K"}
        )
        pressure = (np.array([1000.0, 850.0, 500.0, 200.0]), {"units": "hPa"})
        coords = {"time": self._time(after), "level": pressure, **self._places(1)}
        return self._open(name, region, coords, {"t": fields, "levels": levels})

    def weights(self, region: Region) -> xr.Dataset:
        """Open the weights that take each axis of the fine grid to the coarse one."""
        coords = self._places(4) | {f"{dim}_out": place for dim, place in self._places(1).items()}
        variables = {
            dim: DeclaredVariable(
                dims=(f"{dim}_out", dim),
                chunks=(len(coords[f"{dim}_out"][0]), len(coords[dim][0])),
                dtype="f4",
            )
            for dim in ("lat", "lon")
        }
        renamed = {f"{dim}_weights": each for dim, each in variables.items()}
        return self._open("weights", region, coords, renamed)

    def _cells(self, axis: int) -> int:
        return _CELLS[axis] // self.shrink

    def _time(self, after: int = 0) -> tuple[np.ndarray, dict[str, str]]:
        return np.arange(after, after + self.hours), {"units": "hours since 1950-01-01"}

    def _places(self, finer: int) -> dict[str, tuple[np.ndarray, dict[str, str]]]:
        """Make both grids' coordinates; four fine cells have the mean of a coarse one, exactly."""
        sizes = {"lat": (self._cells(0), -90.0), "lon": (self._cells(1), 0.0)}
        return {
            dim: (begin + (np.arange(cells * finer) + 0.5) / finer, {"units": "degrees"})
            for dim, (cells, begin) in sizes.items()
        }

    def _open(
        self,
        name: str,
        region: Region,
        coords: Mapping[str, Any],
        variables: Mapping[str, DeclaredVariable],
    ) -> xr.Dataset:
        # Another size is another store, and has another name.
        return self.opener(f"{name}-{self.hours}-{self.shrink}", region, coords, variables)


def _climatology(grid: _Grid) -> Any:
    hours = grid.reanalysis(GCP).t.coarsen(time=24).construct(time=("day", "hour"))
    return hours.mean("day")


def _climatology_by_hand(grid: _Grid, compute: ByHand) -> Any:
    return compute({GCP: _climatology(grid)})[GCP]


def _difference(grid: _Grid) -> Any:
    fine = grid.reanalysis(GCP).t.mean("time").coarsen(lat=4, lon=4).mean()
    return fine - grid.model(AWS, name="model").t.mean("time")


def _difference_by_hand(grid: _Grid, compute: ByHand) -> Any:
    fine = grid.reanalysis(GCP).t.mean("time").coarsen(lat=4, lon=4).mean()
    means = compute({GCP: fine, AWS: grid.model(AWS, name="model").t.mean("time")})
    return means[GCP] - means[AWS]


def _chunkwise(grid: _Grid) -> Any:
    levels = grid.model(AWS, name="model").levels
    fine = grid.reanalysis(GCP).t.coarsen(lat=4, lon=4).mean()
    return (fine - levels.sel(level=850.0)).std("time")


def _chunkwise_by_hand(grid: _Grid, compute: ByHand) -> Any:
    levels = grid.model(AWS, name="model").levels.sel(level=850.0)
    fine = grid.reanalysis(GCP).t.coarsen(lat=4, lon=4).mean()
    fields = compute({GCP: fine, AWS: levels})
    return (fields[GCP] - fields[AWS]).std("time")


def _mask(grid: _Grid) -> Any:
    high = grid.reanalysis(AWS, name="surface").height > 500
    return grid.reanalysis(GCP).t.where(high).mean(["lat", "lon"])


def _mask_by_hand(grid: _Grid, compute: ByHand) -> Any:
    # By hand, the mask comes here, and is sent along to the data.
    high = compute({AWS: grid.reanalysis(AWS, name="surface").height > 500})[AWS]
    return compute({GCP: grid.reanalysis(GCP).t.where(high).mean(["lat", "lon"])})[GCP]


def _regrid(grid: _Grid) -> Any:
    weights = grid.weights(AWS)
    fine = grid.reanalysis(GCP).t
    return fine.dot(weights.lat_weights, "lat").dot(weights.lon_weights, "lon").mean("time")


def _regrid_by_hand(grid: _Grid, compute: ByHand) -> Any:
    weights = compute({AWS: grid.weights(AWS)})[AWS]
    fine = grid.reanalysis(GCP).t
    regridded = fine.dot(weights.lat_weights, "lat").dot(weights.lon_weights, "lon")
    return compute({GCP: regridded.mean("time")})[GCP]


def _rolling(grid: _Grid) -> Any:
    past = grid.model(AWS, name="past").t
    future = grid.model(GCP, name="future", after=grid.hours).t
    # The same graph whether or not these are installed.
    with xr.set_options(use_bottleneck=False, use_numbagg=False):
        return xr.concat([past, future], "time").rolling(time=24).mean().max("time")


def _rolling_by_hand(grid: _Grid, compute: ByHand) -> Any:
    past = grid.model(AWS, name="past").t
    future = grid.model(GCP, name="future", after=grid.hours).t
    hours = 24
    with xr.set_options(use_bottleneck=False, use_numbagg=False):
        # Windows over the seam take the last hours of one and the first of the other.
        highest = compute(
            {
                AWS: xr.Dataset(
                    {
                        "max": past.rolling(time=hours).mean().max("time"),
                        "seam": past.isel(time=slice(-hours + 1, None)),
                    }
                ),
                GCP: xr.Dataset(
                    {
                        "max": future.rolling(time=hours).mean().max("time"),
                        "seam": future.isel(time=slice(hours - 1)),
                    }
                ),
            }
        )
        seam = xr.concat([highest[AWS].seam, highest[GCP].seam], "time").rolling(time=hours).mean()
    return np.maximum(np.maximum(highest[AWS]["max"], highest[GCP]["max"]), seam.max("time"))


_MEMBERS: Final = {"one": AWS, "two": GCP, "three": AZURE}


def _ensemble(grid: _Grid) -> Any:
    members = [grid.model(region, name=name).t for name, region in _MEMBERS.items()]
    return xr.concat(members, "member").mean(["member", "time"])


def _ensemble_by_hand(grid: _Grid, compute: ByHand) -> Any:
    means = compute(
        {region: grid.model(region, name=name).t.mean("time") for name, region in _MEMBERS.items()}
    )
    return xr.concat([means[region] for region in _MEMBERS.values()], "member").mean("member")


def _elementwise(grid: _Grid) -> Any:
    return grid.model(AWS, name="model").t - grid.model(GCP, name="other").t


def _elementwise_by_hand(grid: _Grid, compute: ByHand) -> Any:
    models = compute(
        {
            AWS: grid.model(AWS, name="model").t,
            GCP: grid.model(GCP, name="other").t,
        }
    )
    return models[AWS] - models[GCP]


_ALL: Final = (
    Workload(
        name="climatology of one dataset",
        description="The mean day of a reanalysis, stored in one region.",
        regions=(GCP,),
        helps=False,
        tasks=53,
        _build=_climatology,
        _by_hand=_climatology_by_hand,
    ),
    Workload(
        name="difference of two reductions",
        description="The mean of a reanalysis, on a model's grid, minus the model's mean.",
        regions=(AWS, GCP),
        helps=True,
        tasks=40,
        _build=_difference,
        _by_hand=_difference_by_hand,
    ),
    Workload(
        name="chunkwise difference at unequal resolution",
        description="The spread of a coarsened reanalysis minus one of a model's four levels.",
        regions=(AWS, GCP),
        helps=True,
        tasks=141,
        _build=_chunkwise,
        _by_hand=_chunkwise_by_hand,
    ),
    Workload(
        name="small mask broadcast to a large dataset",
        description="The mean of a reanalysis where another region's height says mountains.",
        regions=(AWS, GCP),
        helps=True,
        tasks=52,
        _build=_mask,
        _by_hand=_mask_by_hand,
    ),
    Workload(
        name="regrid with small weights",
        description="A reanalysis taken to a coarse grid by weights in another region, averaged.",
        regions=(AWS, GCP),
        helps=False,
        tasks=81,
        _build=_regrid,
        _by_hand=_regrid_by_hand,
    ),
    Workload(
        name="rolling over a concat across regions",
        description="The highest daily mean of a series that goes on in another region.",
        regions=(AWS, GCP),
        helps=True,
        tasks=1276,
        _build=_rolling,
        _by_hand=_rolling_by_hand,
    ),
    Workload(
        name="ensemble mean over three regions",
        description="The mean over three models, each in a region of its own, and over time.",
        regions=(AWS, AZURE, GCP),
        helps=True,
        tasks=14,
        _build=_ensemble,
        _by_hand=_ensemble_by_hand,
    ),
    Workload(
        name="elementwise difference in full",
        description="One model minus another, all of it brought here: only raw bytes are fewer.",
        regions=(AWS, GCP),
        helps=False,
        tasks=3,
        _build=_elementwise,
        _by_hand=_elementwise_by_hand,
    ),
)

#: All workloads, by name.
WORKLOADS: Final[Mapping[str, Workload]] = MappingProxyType({each.name: each for each in _ALL})
