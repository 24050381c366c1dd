"""Programs on dask arrays: blocks, rechunking, spectra, linear algebra."""

from __future__ import annotations

from typing import Any, Final

import dask
import dask.array as da
import numpy as np
import xarray as xr

from support.realistic.model import RealisticProgram, declared, program

__all__ = ["PROGRAMS"]


def _pair(first: xr.Dataset, second: xr.Dataset, name: str) -> tuple[da.Array, da.Array]:
    """Take one variable of both models, on the days that both have."""
    one, other = xr.align(first[name], second[name], join="inner")
    return da.asarray(one.data), da.asarray(other.data)


def _tall(array: da.Array) -> da.Array:
    """Make days × cells, chunked along the days alone."""
    cells = array.rechunk({1: -1, 2: -1}).reshape(array.shape[0], -1)
    tall: da.Array = cells.rechunk({1: -1})
    return tall


@program("map_blocks")
def where_blocks_lie(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Map a function that uses the place of its block over blocks of both models."""

    def place(one: np.ndarray, other: np.ndarray, block_info: Any = None) -> np.ndarray:
        begin = block_info[0]["array-location"][0][0] if block_info else 0
        made: np.ndarray = one - other + begin
        return made

    one, other = _pair(first, second, "u")
    return da.map_blocks(place, one, other.rechunk(one.chunks), dtype="f8")


@program("map_blocks")
def laplacian_of_a_difference(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Take a stencil over a difference: blocks need their neighbours' edges."""

    def stencil(block: np.ndarray) -> np.ndarray:
        made: np.ndarray = np.roll(block, 1, 1) + np.roll(block, -1, 1) - 2 * block
        return made

    one, other = _pair(first, second, "u")
    overlapped = (one - other).map_overlap(
        stencil, depth={1: 1, 2: 1}, boundary={1: "reflect", 2: "periodic"}, dtype="f8"
    )
    return overlapped.max(axis=0)


@program("map_blocks")
def blockwise_outer(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Combine every block of one model with every block of the other."""
    one, other = first.t.mean(["lat", "lon"]).data, second.t.mean(["lat", "lon"]).data
    return da.blockwise(np.subtract.outer, "ij", one, "i", other, "j", dtype="f4")


@program("map_blocks")
def reduced_by_hand(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Reduce a product by a reduction of one's own, tree-wise."""
    one, other = _pair(first, second, "v")
    return da.reduction(
        one * other,
        chunk=lambda block, axis, keepdims: np.sum(block**2, axis=axis, keepdims=keepdims),
        aggregate=lambda block, axis, keepdims: np.sqrt(
            np.sum(block, axis=axis, keepdims=keepdims)
        ),
        axis=0,
        dtype="f8",
        split_every=2,
    )


@program("rechunk by tasks")
def whole_series(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Turn chunks of maps into chunks of series, task by task, for a median."""
    one, other = _pair(first, second, "u")
    return da.median((one - other).rechunk({0: -1, 1: 2, 2: 2}, method="tasks"), axis=0)


@program("rechunk by tasks")
def both_ways(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Rechunk each model to series and their sum back to maps."""
    one, other = (each.rechunk((-1, 2, 2), method="tasks") for each in _pair(first, second, "v"))
    return (one + other).rechunk((12, -1, -1), method="tasks").max(axis=(1, 2))


@program("rechunk by tasks")
def reshaped_and_stored_in_order(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Stack cells, transpose, and rechunk across the seam between the regions."""
    stacked = xr.concat([first.v, second.v], "model", join="inner").stack(cell=["lat", "lon"])
    return (
        stacked.transpose("cell", ...)
        .chunk(cell=12, time=25, model=-1)
        .isel(cell=slice(None, None, 5))
    )


@program("rechunk by p2p", p2p=True)
def difference_shuffled(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Turn a difference's maps into series peer to peer."""
    one, other = _pair(first, second, "u")
    return (one - other).rechunk((-1, 2, 2), method="p2p").std(axis=0)


@program("rechunk by p2p", p2p=True)
def joined_shuffled(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Turn a series joined of both regions into whole series peer to peer."""
    joined = xr.concat([first.t, second.t], "model", join="inner")
    with dask.config.set({"array.rechunk.method": "p2p"}):
        series = joined.chunk(time=-1, lat=2, lon=2)
    return series.quantile(0.9, "time")


@program("rechunk by p2p", p2p=True)
def one_of_two_shuffled(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Shuffle one region's model alone, and compare it with the other's mean."""
    one = first.t.copy(data=first.t.data.rechunk((-1, 2, 2), method="p2p"))
    return one.max("time") - second.t.mean("time")


@program("masked")
def masked_by_the_other(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Mask one model's array where the other's is small, and reduce what is left."""
    one, other = _pair(first, second, "u")
    masked = da.ma.masked_where(other < 0, one)
    return [da.ma.filled(masked.sum(axis=0), -1.0), da.ma.getmaskarray(masked).sum(axis=0)]


@program("masked")
def masked_values_crossing(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Combine masked arrays of both regions, whose values cross with their masks."""
    one, other = _pair(first, second, "v")
    both = da.ma.masked_greater(one, 1.0) + da.ma.masked_less(other, -1.0)
    return da.ma.filled(both.mean(axis=0), np.nan)


@program("masked")
def chosen_by_conditions(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Choose among arrays of both regions by several conditions."""
    one, other = _pair(first, second, "u")
    chosen = da.select([one > 1, other > 1, one < -1], [one, other, one * other], default=0.0)
    return da.where(da.isclose(chosen, 0.0), other, chosen)[::3]


@program("cumulative")
def cumulated_by_either_method(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Accumulate one model in order, the other by a tree of tasks."""
    one, other = _pair(first, second, "u")
    in_order = da.cumsum(one, axis=0, method="sequential")
    return in_order - da.cumsum(other, axis=0, method="blelloch")


@program("cumulative")
def growth(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Multiply through time, and difference along a grid."""
    one, other = _pair(first, second, "q")
    return da.diff(da.cumprod(1 + one * other / 10, axis=0), axis=2)[-1]


@program("quantile")
def histograms(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Count both models' values by themselves and jointly, and take percentiles."""
    one, other = (each.ravel() for each in _pair(first, second, "u"))
    bins = np.linspace(-4, 4, 17)
    joint, _, _ = da.histogram2d(one, other.rechunk(one.chunks), bins=[bins, bins])
    counts = [da.histogram(each, bins=bins)[0] for each in (one, other)]
    return {"joint": joint, "difference": counts[0] - counts[1]}


@program("quantile")
def percentiles_of_blocks(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Take percentiles of a difference, and its largest values."""
    one, other = _pair(first, second, "q")
    difference = (one - other).ravel()
    return [da.percentile(difference, [5, 50, 95]), da.topk(difference, 5)]


@program("fft")
def cross_spectrum(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Multiply one model's spectrum with the conjugate of the other's."""
    one, other = (da.fft.rfft(each.rechunk({0: -1}), axis=0) for each in _pair(first, second, "u"))
    return abs(one * da.conj(other)).mean(axis=(1, 2))


@program("fft")
def filtered_in_space(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Remove small scales of a difference by a transform there and back."""
    one, other = _pair(first, second, "v")
    spectrum = da.fft.fft2((one - other).rechunk({1: -1, 2: -1}), axes=(1, 2))
    low = da.fft.fftshift(spectrum, axes=(1, 2))[:, 1:5, 2:6]
    return abs(da.fft.ifft2(low.rechunk({1: -1, 2: -1}), axes=(1, 2)))


@program("linear algebra")
def leading_patterns(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Project one model on the leading patterns of the other."""
    one, other = (_tall(each) for each in _pair(first, second, "u"))
    _, values, patterns = da.linalg.svd(one - one.mean(axis=0))
    return [values[:5], da.dot(other, patterns[:3].T)]


@program("linear algebra")
def triangle_of_both(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Decompose rows that come from both regions."""
    one, other = (_tall(each)[:, :6] for each in _pair(first, second, "v"))
    joined = da.concatenate([one, other]).rechunk({0: 30})
    orthogonal, triangle = da.linalg.qr(joined)
    return [abs(triangle), (orthogonal**2).sum(axis=0)]


@program("linear algebra")
def least_squares(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Regress one model's cells on some of the other's."""
    one, other = (_tall(each) for each in _pair(first, second, "v"))
    coefficients, residuals, _, _ = da.linalg.lstsq(one[:, :5], other[:, 0])
    return [coefficients, residuals]


@program("linear algebra")
def covariance_solved(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Solve with one model's covariance of cells, for the other's mean."""
    one, other = (_tall(each)[:, :8] for each in _pair(first, second, "u"))
    covariance = da.dot(one.T, one).rechunk(4) + da.eye(8, chunks=4) * 1.0
    return da.linalg.solve(covariance, other.mean(axis=0).rechunk(4))


@program("linear algebra")
def contracted_with_small_weights(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Contract one model with weights made of the other's small fields."""
    weights = (second.area * (second.land > 0)).data
    series = da.tensordot(first.t.fillna(0).data.astype("f8"), weights, axes=([1, 2], [0, 1]))
    return da.einsum("t,yx->ty", series, second.area.data)


@program("linear algebra")
def gram_matrix(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Multiply every day of one model with every day of the other."""
    one, other = (_tall(each) for each in _pair(first, second, "u"))
    return da.matmul(one, other.T).rechunk((20, 60))


PROGRAMS: Final[tuple[RealisticProgram, ...]] = declared(vars())
