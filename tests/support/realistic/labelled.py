"""Programs by xarray's labels: groups, windows, interpolation, masks, joins."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import xarray as xr
from xarray.groupers import BinGrouper, SeasonGrouper, UniqueGrouper

from support.realistic.model import RealisticProgram, declared, program

__all__ = ["PROGRAMS"]


@program("groupby", needs="flox")
def monthly_climatologies(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Subtract one model's monthly climatology from the other's."""
    return first.t.groupby("time.month").mean() - second.t.groupby("time.month").mean()


@program("groupby", needs="flox")
def anomalies_from_the_other(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Take a model's anomalies from the other's climatology, and their spread."""
    return (first.t.groupby("time.month") - second.t.groupby("time.month").mean()).std("time")


@program("groupby", needs="flox")
def means_by_lazy_surface(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Average one model over kinds of surface found in the other model's chunks."""
    surface = UniqueGrouper(labels=[0, 1, 2])
    return first.t.assign_coords(surface=second.land).groupby(surface=surface).mean()


@program("groupby", needs="flox")
def season_by_band(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Group an elementwise difference by season and by band of latitude at once."""
    bands = BinGrouper(bins=[-90, -30, 30, 90])
    groups = (first.t - second.t).groupby(time=SeasonGrouper(["DJF", "MAM"]), lat=bands)
    return groups.mean()


@program("groupby")
def groups_one_by_one(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Group without flox: each group is indexed and reduced by itself."""
    with xr.set_options(use_flox=False):
        return first.t.groupby("time.month").max() - second.t.groupby("time.month").min()


@program("groupby")
def standardise_each_month(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Apply a function to each month of a difference."""
    months = (first.t - second.t).groupby("time.month")
    return months.map(lambda month: (month - month.mean("time")) / month.std("time"))


@program("resample", needs="flox")
def monthly_and_ten_daily(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Resample both models to months and to ten days, with flox."""
    monthly = first.t.resample(time="MS").mean() - second.t.resample(time="MS").mean()
    return {"monthly": monthly, "ten days": (first.q * second.q).resample(time="10D").sum()}


@program("resample")
def six_daily_extremes(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Resample to periods of six days, one period after the other."""
    with xr.set_options(use_flox=False):
        return first.t.resample(time="6D").max() - second.t.resample(time="6D").min()


@program("resample")
def half_daily_upsampled(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Fill half days between the days of the models' mean."""
    mean = ((first.u + second.u) / 2).mean("lon")
    return mean.chunk(time=-1).resample(time="12h").interpolate("linear")


@program("rolling")
def smooth_over_the_seam(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Smooth a series of which each region holds a part."""
    later = second.t.sel(time=slice("2001-03-14", None))
    return xr.concat([first.t, later], "time").rolling(time=5, center=True).mean()


@program("rolling")
def weighted_windows(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Weigh each window of a difference by its own weights."""
    weights = xr.DataArray([0.25, 0.5, 0.25], dims="window")
    return (first.u - second.u).rolling(time=3).construct("window").dot(weights).max("lat")


@program("rolling")
def rolling_then_difference(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Smooth each model by itself, then compare them chunk by chunk."""
    smooth = {"time": 4, "lat": 3}
    return first.t.rolling(smooth, min_periods=1).sum() - second.t.rolling(smooth).mean()


@program("rolling")
def blocks_of_cells(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Compare extremes of one model with means of the other over blocks of four cells."""
    windows = {"lat": 2, "lon": 2}
    return (first.t.coarsen(windows).max() - second.t.coarsen(windows).mean()).mean("time")


@program("interp")
def regridded_bilinearly(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Interpolate one model's coarse grid to the other's, and compare day by day."""
    coarse = second.t.coarsen(lat=2, lon=2).mean()
    return (first.t - coarse.interp(lat=first.lat, lon=first.lon)).std("time")


@program("interp")
def interpolated_in_time(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Interpolate one model to noon of the other's days."""
    noon = second.time[:40] + np.timedelta64(12, "h")
    shifted = first.u.interp(time=noon, method="nearest").assign_coords(time=second.time[:40])
    return shifted + second.u


@program("interp")
def sampled_at_stations(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Sample both models at stations between their cells."""
    lat = xr.DataArray([-40.0, 12.5, 51.0], dims="station")
    lon = xr.DataArray([30.0, 170.0, 300.0], dims="station")
    return first.t.interp(lat=lat, lon=lon) - second.t.interp(lat=lat, lon=lon)


@program("interp")
def picked_at_stations(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Pick the cells nearest to stations, of both models, and reindex them."""
    lat = xr.DataArray([-40.0, 12.5, 51.0], dims="station")
    lon = xr.DataArray([30.0, 170.0, 300.0], dims="station")
    nearest = {"lat": lat, "lon": lon, "method": "nearest"}
    picked = first.q.sel(**nearest).reindex(time=second.time)
    return picked * second.q.sel(**nearest)


@program("where")
def one_masks_the_other(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Average one model where the other's small mask says land."""
    return first.t.where(second.land == 1).mean(["lat", "lon"])


@program("where")
def the_warmer_of_two(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Take wind from whichever model is warmer, with both in the condition."""
    one, other = xr.align(first, second, join="inner")
    return xr.where(one.t > other.t, one.u, other.v).sum("time")


@program("where")
def gaps_filled_from_the_other(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Fill one model's missing values from the other, and clip what comes of it."""
    filled = first.t.combine_first(second.t).fillna(second.t.mean("time"))
    return filled.clip(280, 300).isel(lat=2)


@program("where")
def cropped_to_a_lazy_mask(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Count the days on which both models agree, by surface, over a box."""
    box = {"lat": slice(-50, 50), "lon": slice(40, 250)}
    warm = (first.t.sel(box) > 300) == (second.t.sel(box) > 300)
    return warm.where(second.land.sel(box).isin([0, 2]), other=False).sum("time")


@program("cumulative")
def accumulated_difference(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Accumulate a chunk-level difference through time."""
    return (first.u - second.u).cumsum("time").isel(time=slice(None, None, 7))


@program("cumulative")
def integrated_and_differentiated(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Integrate one model, differentiate the other, and join them."""
    total = first.v.cumulative_integrate("lat")
    return total.mean("time") * second.v.differentiate("lon").mean("time")


@program("quantile")
def quantiles_of_a_difference(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Take quantiles through time of a difference."""
    return (first.t - second.t).chunk(time=-1).quantile([0.1, 0.5, 0.9], "time")


@program("quantile")
def median_of_both(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Take the median over both models and all days, and rank one model's means."""
    both = xr.concat([first.q, second.q], "model", join="inner")
    return both.chunk(time=-1, model=-1).median(["model", "time"])


@program("statistics")
def correlation_and_regression(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Correlate the models through time, and regress one on the other."""
    covariance = xr.cov(first.t, second.t, dim="time")
    return {
        "correlation": xr.corr(first.t, second.t, dim="time"),
        "slope": covariance / second.t.var("time"),
    }


@program("statistics")
def weighted_by_the_other(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Average one model over the globe by the other's cell areas."""
    return first[["t", "q"]].weighted(second.area).mean(["lat", "lon"])


@program("statistics")
def trends_compared(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Fit a line to each model in each cell, and evaluate it on the other's days."""
    one, other = (
        model.u.chunk(time=-1).polyfit("time", 1).polyfit_coefficients for model in (first, second)
    )
    return xr.polyval(second.time, one - other).mean("lat")


@program("statistics")
def day_of_the_maximum(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Find on which day the models differ most."""
    return (first.u - second.u).chunk(time=-1).idxmax("time")


PROGRAMS: Final[tuple[RealisticProgram, ...]] = declared(vars())
