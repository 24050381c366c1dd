"""Programs that join datasets of two regions, and Datasets that derive from themselves."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import xarray as xr

from support.realistic.model import RealisticProgram, declared, program

__all__ = ["PROGRAMS"]


@program("concat")
def ensemble_of_two(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Join the models along a new dimension, for their mean and spread."""
    ensemble = xr.concat([first.t, second.t], "model", join="inner")
    return xr.Dataset({"mean": ensemble.mean("model"), "spread": ensemble.std("model")})


@program("concat")
def one_series_of_two(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Continue one model's series with the other's, and reduce all of it."""
    later = second[["t", "u"]].sel(time=slice("2001-03-14", None))
    joined = xr.concat([first[["t", "u"]], later], "time", data_vars="minimal")
    return joined.std("time")


@program("concat")
def stitched_of_four(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Stitch pieces that alternate between the regions, and subtract their mean."""
    days = first.indexes["time"].intersection(second.indexes["time"])
    pieces = [
        (first, second)[number % 2].u.sel(time=days[number * 15 : (number + 1) * 15])
        for number in range(4)
    ]
    joined = xr.concat(pieces, "time")
    return joined - joined.mean("time")


@program("merge")
def merged_variables(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Merge variables of two models into one Dataset, and reduce it."""
    merged = xr.merge([first[["t"]], second[["q", "land"]]], join="inner", compat="override")
    return merged.mean("lon")


@program("merge")
def merged_and_combined(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Compute a variable from variables that came from different regions."""
    merged = xr.merge(
        [first.t.rename("warm"), second.q.rename("wet")], join="outer", compat="override"
    )
    return (merged.warm * merged.wet).sum(["lat", "lon"])


@program("combine")
def tiles_by_coordinates(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Put the halves of a map together by their coordinates, one half from each region."""
    west = first[["t"]].sel(lon=slice(0, 150)).sel(time=slice("2001-02-01", "2001-03-01"))
    east = second[["t"]].sel(lon=slice(151, None)).sel(time=slice("2001-02-01", "2001-03-01"))
    whole = xr.combine_by_coords([east, west], combine_attrs="override")
    return whole.t.diff("lon").mean("time")


@program("combine")
def tiles_by_position(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Put four tiles together by their position in a nested list."""
    quarters = [
        [
            model[["u"]].isel(lat=slice(row, row + 3), time=slice(8)).drop_vars("time")
            for row in (0, 3)
        ]
        for model in (first, second)
    ]
    nested = xr.combine_nested(quarters, concat_dim=["time", "lat"], combine_attrs="override")
    return nested.max("time")


@program("derived")
def wind_speeds(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Make variables of which each derives from the one before."""
    made = first[["u"]].assign(v=second.v)
    made = made.assign(speed=np.hypot(made.u, made.v))
    made = made.assign(usual=made.speed.mean("time"))
    return made.assign(gusts=made.speed - made.usual)[["speed", "usual", "gusts"]]


@program("derived")
def budget_of_reductions(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Derive variables from each other after everything has been reduced."""
    made = xr.Dataset({"one": first.t.mean("time"), "other": second.t.mean("time")})
    made["difference"] = made.one - made.other
    made["squared"] = made.difference**2
    made["error"] = made.squared.mean() ** 0.5
    return made


@program("derived")
def tree_of_both(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Return a tree whose nodes derive from each other and from both regions."""
    means = xr.Dataset({"t": first.t.mean("time"), "q": second.q.mean("time")})
    return xr.DataTree.from_dict(
        {"/means": means, "/means/scaled": means * 2, "/extremes": second[["u", "v"]].max("time")}
    )


@program("apply_ufunc")
def bulk_flux(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Apply a function of numpy's chunk by chunk, to arrays of both regions."""
    return xr.apply_ufunc(
        lambda wind, warm, wet: np.abs(wind) * (warm - 273.15) * wet,
        first.u,
        first.t,
        second.q,
        join="inner",
        dask="parallelized",
        output_dtypes=["f8"],
    ).mean("time")


def _detrend(values: np.ndarray) -> np.ndarray:
    steps = np.arange(values.shape[-1]) - (values.shape[-1] - 1) / 2
    slope = (values * steps).sum(-1) / (steps**2).sum()
    centred = values - values.mean(-1)[..., np.newaxis]
    detrended: np.ndarray = centred - slope[..., np.newaxis] * steps
    return detrended


@program("apply_ufunc")
def series_detrended(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Apply a function over whole series of a difference."""
    return xr.apply_ufunc(
        _detrend,
        (first.u - second.u).chunk(time=-1),
        input_core_dims=[["time"]],
        output_core_dims=[["time"]],
        dask="parallelized",
        output_dtypes=["f8"],
    )


@program("apply_ufunc")
def fitted_in_each_cell(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Fit one model to the other in each cell, with two outputs of a vectorised function."""
    one, other = xr.align(first.u, second.u, join="inner")
    return xr.apply_ufunc(
        lambda x, y: tuple(np.polyfit(x, y, 1)),
        one.chunk(time=-1),
        other.chunk(time=-1),
        input_core_dims=[["time"], ["time"]],
        output_core_dims=[[], []],
        vectorize=True,
        dask="parallelized",
        output_dtypes=["f8", "f8"],
    )


def _blend(one: xr.DataArray, other: xr.DataArray, *, share: float) -> xr.DataArray:
    return one * share + other.mean("lon") * (1 - share)


@program("map_blocks")
def blended_blocks(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Map a function over blocks of both models by xarray's own map_blocks."""
    one, other = xr.align(first.u, second.u, join="inner")
    one, other = (each.chunk(time=12, lat=-1, lon=-1) for each in (one, other))
    return xr.map_blocks(_blend, one, args=[other], kwargs={"share": 0.75}, template=one)


@program("map_blocks")
def blocks_of_a_dataset(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Map a function over blocks of a Dataset whose variables come from both regions."""
    merged = xr.merge([first.t, second.q], join="inner", compat="override")
    merged = merged.chunk(time=20, lat=3, lon=-1)
    template = merged.t.isel(lon=0, drop=True).rename("heat")
    return xr.map_blocks(
        lambda block: (block.t * block.q).max("lon").rename("heat").astype("f4"),
        merged,
        template=template,
    )


PROGRAMS: Final[tuple[RealisticProgram, ...]] = declared(vars())
