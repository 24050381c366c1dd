"""Programs whose values' sizes are estimated and measured: see test_sizes_of_programs."""

# ruff: noqa: PLW0108 -- programs are built when they are asked for

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import dask
import dask.array as da
import numpy as np
import xarray as xr

__all__ = ["ARRAYS", "OBJECTS", "XARRAYS"]

_RANDOM = np.random.default_rng(0)
_SQUARE: Final = da.from_array(_RANDOM.random((30, 20)).astype("f4"), chunks=(7, 8))
_CUBE: Final = da.from_array(_RANDOM.random((24, 10, 12)), chunks=(5, 4, 6))
_LINE: Final = da.from_array(_RANDOM.integers(0, 9, 100), chunks=13)
_TALL: Final = da.from_array(_RANDOM.random((60, 4)), chunks=(15, 4))
_MATRIX: Final = da.from_array(_RANDOM.random((40, 40)) + 40 * np.eye(40), chunks=(10, 10))

#: Arrays of dask, by what makes them.
ARRAYS: Final[Mapping[str, Callable[[], Any]]] = {
    "elementwise": lambda: _SQUARE * 2,
    "astype": lambda: _SQUARE.astype("f8"),
    "compare": lambda: _SQUARE > 0.5,
    "transpose": lambda: _SQUARE.T,
    "slice": lambda: _SQUARE[3:25, ::2],
    "pick": lambda: _SQUARE[3],
    "newaxis": lambda: _SQUARE[:, None, 3:],
    "fancy": lambda: _SQUARE[[3, 1, 20, 29, 2]],
    "fancy sorted": lambda: _SQUARE[:, [1, 5, 9, 13]],
    "take": lambda: da.take(_SQUARE, [9, 3, 1], axis=0),
    "by array": lambda: _SQUARE[da.from_array(np.array([3, 1, 20]), chunks=2)],
    "vindex": lambda: _SQUARE.vindex[[1, 20, 29], [2, 3, 15]],
    "reverse": lambda: _SQUARE[::-1],
    "boolean": lambda: _SQUARE[_SQUARE > 0.5],
    "boolean rows": lambda: _SQUARE[_SQUARE[:, 0] > 0.5],
    "boolean then": lambda: _SQUARE[_SQUARE > 0.5] * 2,
    "blocks": lambda: _SQUARE.blocks[1:3],
    "assign": lambda: _assign(_SQUARE),
    "broadcast": lambda: _SQUARE + da.ones((4, 1, 20), chunks=(2, 1, 5)),
    "broadcast_to": lambda: da.broadcast_to(_SQUARE, (3, 30, 20)),
    "embedded": lambda: _SQUARE + np.arange(20.0),
    "sum": lambda: _SQUARE.sum(0),
    "sum keepdims": lambda: _SQUARE.sum(0, keepdims=True),
    "sum small": lambda: _LINE.astype("i2").sum(),
    "max of all": lambda: _SQUARE.max(),
    "nanmax": lambda: da.nanmax(_SQUARE, axis=0),
    "any": lambda: (_SQUARE > 1).any(1),
    "prod": lambda: _SQUARE.prod(),
    "mean": lambda: _SQUARE.mean(1),
    "mean of all": lambda: _CUBE.mean(),
    "mean tree": lambda: da.ones((400, 3), chunks=(2, 3)).mean(0),
    "nanmean": lambda: da.nanmean(_CUBE, axis=(0, 2)),
    "var": lambda: _CUBE.var(axis=0),
    "std": lambda: _SQUARE.std(0),
    "std tree": lambda: da.ones((400, 3), chunks=(2, 3)).std(0),
    "nanstd": lambda: da.nanstd(_SQUARE, axis=1),
    "moment": lambda: da.moment(_CUBE, 4, axis=0),
    "moment 3": lambda: da.moment(_SQUARE, 3),
    "argmax": lambda: _SQUARE.argmax(0),
    "argmax of all": lambda: _SQUARE.argmax(),
    "nanargmin": lambda: da.nanargmin(_CUBE, axis=1),
    "cumsum": lambda: _SQUARE.cumsum(0),
    "cumprod": lambda: _CUBE.cumprod(1),
    "cumsum flat": lambda: _SQUARE.cumsum(axis=None),
    "nancumsum": lambda: da.nancumsum(_SQUARE, 1),
    "cumsum blelloch": lambda: da.cumsum(_SQUARE, axis=0, method="blelloch"),
    "topk": lambda: da.topk(_SQUARE, 3, axis=0),
    "argtopk": lambda: da.argtopk(_SQUARE, 3, axis=1),
    "bottomk": lambda: da.topk(_SQUARE, -9, axis=0),
    "median": lambda: da.median(_SQUARE, axis=0),
    "nanmedian": lambda: da.nanmedian(_CUBE, axis=(0, 1)),
    "quantile": lambda: da.quantile(_SQUARE, [0.1, 0.5], axis=0),
    "nanquantile": lambda: da.nanquantile(_SQUARE, 0.3, axis=1),
    "percentile": lambda: da.percentile(_LINE.astype("f8"), [10, 50, 90]),
    "histogram": lambda: da.histogram(_SQUARE, bins=11, range=(0, 1))[0],
    "histogram weighted": lambda: da.histogram(_SQUARE, bins=11, range=(0, 1), weights=_SQUARE * 2)[
        0
    ],
    "histogram2d": lambda: da.histogram2d(_LINE, _LINE * 2, bins=[3, 4], range=((0, 9), (0, 18)))[
        0
    ],
    "bincount": lambda: da.bincount(_LINE, minlength=10),
    "digitize": lambda: da.digitize(_SQUARE, np.array([0.1, 0.5])),
    "searchsorted": lambda: da.searchsorted(da.arange(50, chunks=20), _LINE),
    "unique": lambda: da.unique(_LINE),
    "unique counts": lambda: da.unique(_LINE, return_counts=True)[1],
    "nonzero": lambda: da.nonzero(_LINE)[0],
    "isin": lambda: da.isin(_LINE, [1, 2]),
    "rechunk": lambda: _SQUARE.rechunk((5, 20)),
    "rechunk finer": lambda: _CUBE.rechunk((3, 3, 12)),
    "rechunk steps": lambda: da.ones((60, 60), chunks=(60, 1)).rechunk((1, 60)),
    "rechunk merge": lambda: _SQUARE.rechunk((14, 8)),
    "rechunk split": lambda: da.ones((40, 40), chunks=40).rechunk(10),
    "balance": lambda: _SQUARE.rechunk((9, -1), balance=True),
    "concatenate": lambda: da.concatenate([_SQUARE, _SQUARE[:3]]),
    "concatenate types": lambda: da.concatenate([_SQUARE, _SQUARE.astype("f8")]),
    "stack": lambda: da.stack([_SQUARE, _SQUARE]),
    "block": lambda: da.block([[_SQUARE, _SQUARE], [_SQUARE, _SQUARE]]),
    "reshape": lambda: _CUBE.reshape(24, 120),
    "reshape merge": lambda: _SQUARE.reshape(600),
    "reshape split": lambda: _SQUARE.reshape(5, 6, 20),
    "ravel": lambda: _CUBE.ravel(),
    "reshape_blockwise": lambda: da.reshape_blockwise(_CUBE, (240, 12)),
    "swapaxes": lambda: da.swapaxes(_CUBE, 0, 2),
    "moveaxis": lambda: da.moveaxis(_CUBE, 0, -1),
    "flip": lambda: da.flip(_SQUARE, 0),
    "rot90": lambda: da.rot90(_SQUARE),
    "roll": lambda: da.roll(_SQUARE, 3, axis=0),
    "tile": lambda: da.tile(_SQUARE, (2, 1)),
    "repeat": lambda: da.repeat(_SQUARE, 3, axis=0),
    "diff": lambda: da.diff(_SQUARE, axis=0),
    "gradient": lambda: da.gradient(_SQUARE, axis=0),
    "pad": lambda: da.pad(_SQUARE, 2, mode="edge"),
    "pad constant": lambda: da.pad(_SQUARE, ((2, 3), (0, 1)), mode="constant"),
    "pad reflect": lambda: da.pad(_SQUARE, 2, mode="reflect"),
    "overlap": lambda: da.overlap.overlap(_SQUARE, {0: 2, 1: 1}, boundary={0: "reflect"}),
    "overlap none": lambda: da.overlap.overlap(_SQUARE, 2, boundary="none"),
    "overlap uneven": lambda: da.overlap.overlap(_SQUARE, {0: (2, 0), 1: 0}, boundary="none"),
    "map_overlap": lambda: _SQUARE.map_overlap(lambda x: x + 1, depth=2, boundary="periodic"),
    "map_overlap untrimmed": lambda: _SQUARE.map_overlap(
        lambda x: x[2:-2, 2:-2], depth=2, boundary=0, trim=False
    ),
    "sliding_window": lambda: da.lib.stride_tricks.sliding_window_view(_SQUARE, 3, axis=0),
    "sliding mean": lambda: da.lib.stride_tricks.sliding_window_view(_SQUARE, 3, axis=0).mean(-1),
    "push": lambda: da.reductions.cumreduction(
        np.maximum.accumulate, np.maximum, -np.inf, _SQUARE, axis=0, dtype="f4"
    ),
    "coarsen": lambda: da.coarsen(np.mean, _TALL, {0: 5}),
    "map_blocks": lambda: _SQUARE.map_blocks(lambda x: x * 2),
    "map_blocks info": lambda: _SQUARE.map_blocks(_with_info, dtype="f4"),
    "map_blocks id": lambda: _SQUARE.map_blocks(_with_id, dtype="f4"),
    "map_blocks chunks": lambda: _SQUARE.map_blocks(lambda x: x[:1, :1], chunks=(1, 1), dtype="f4"),
    "map_blocks wrong": lambda: _SQUARE.map_blocks(lambda x: x[:1, :1], dtype="f4"),
    "map_blocks drop": lambda: _SQUARE.map_blocks(lambda x: x.sum(0), drop_axis=0, dtype="f4"),
    "map_blocks new": lambda: _SQUARE.map_blocks(
        lambda x: np.stack([x, x]), new_axis=0, chunks=((2,), *_SQUARE.chunks), dtype="f4"
    ),
    "map_blocks none": lambda: da.map_blocks(
        _with_position, chunks=((4, 4), (3,)), dtype="f8", meta=np.empty((0, 0))
    ),
    "blockwise": lambda: da.blockwise(np.multiply.outer, "ij", _LINE, "i", _LINE, "j", dtype="i8"),
    "blockwise list": lambda: da.blockwise(
        lambda xs: sum(x.sum(1) for x in xs), "i", _SQUARE, "ij", dtype="f4"
    ),
    "blockwise concatenate": lambda: da.blockwise(
        lambda x: x.sum(1), "i", _SQUARE, "ij", dtype="f4", concatenate=True
    ),
    "apply_gufunc": lambda: da.apply_gufunc(
        lambda x: x.mean(-1), "(i)->()", _SQUARE.rechunk((7, 20)), output_dtypes="f4"
    ),
    "apply_gufunc two": lambda: da.apply_gufunc(
        lambda x: (x.mean(-1), x * 2.0),
        "(i)->(),(i)",
        _SQUARE.rechunk((7, 20)),
        output_dtypes=("f4", "f4"),
    )[1],
    "apply_along_axis": lambda: da.apply_along_axis(np.sort, 0, _SQUARE, dtype="f4", shape=(30,)),
    "where": lambda: da.where(_SQUARE > 0.5, _SQUARE, 0.0),
    "choose": lambda: da.choose((_SQUARE > 0.5).astype(int), [_SQUARE, -_SQUARE]),
    "masked": lambda: da.ma.masked_greater(_SQUARE, 0.5),
    "masked mean": lambda: da.ma.masked_greater(_SQUARE, 0.5).mean(0),
    "masked filled": lambda: da.ma.filled(da.ma.masked_greater(_SQUARE, 0.5), 0),
    "clip": lambda: da.clip(_SQUARE, 0.1, 0.9),
    "isnull": lambda: da.isnull(_SQUARE),
    "round": lambda: da.round(_SQUARE, 2),
    "divmod": lambda: da.divmod(_LINE, 3)[1],
    "modf": lambda: da.modf(_SQUARE)[1],
    "frexp": lambda: da.frexp(_SQUARE)[1],
    "fft": lambda: da.fft.fft(_SQUARE.rechunk((-1, 8)), axis=0),
    "rfft": lambda: da.fft.rfft(_SQUARE.rechunk((-1, 8)), axis=0),
    "irfft": lambda: da.fft.irfft(_SQUARE.rechunk((7, -1)).astype("c8"), axis=1),
    "fft2": lambda: da.fft.fft2(_SQUARE.rechunk(-1)),
    "fft n": lambda: da.fft.fft(_SQUARE.rechunk((-1, 8)), n=50, axis=0),
    "fftshift": lambda: da.fft.fftshift(_SQUARE),
    "fftfreq": lambda: da.fft.fftfreq(30, chunks=7),
    "tensordot": lambda: da.tensordot(_CUBE, _CUBE, axes=((0, 1), (0, 1))),
    "matmul": lambda: _SQUARE @ _SQUARE.T,
    "dot": lambda: da.dot(_SQUARE, _SQUARE.T),
    "dot line": lambda: da.dot(_LINE, _LINE),
    "vdot": lambda: da.vdot(_LINE, _LINE),
    "outer": lambda: da.outer(_LINE, _LINE),
    "einsum": lambda: da.einsum("ijk,ijl->kl", _CUBE, _CUBE),
    "norm": lambda: da.linalg.norm(_SQUARE),
    "norm axis": lambda: da.linalg.norm(_SQUARE, axis=0),
    "qr": lambda: da.linalg.qr(_TALL)[0],
    "qr r": lambda: da.linalg.qr(_TALL)[1],
    "tsqr": lambda: da.linalg.tsqr(da.ones((400, 4), chunks=(20, 4)), compute_svd=True)[0],
    "sfqr": lambda: da.linalg.sfqr(da.ones((5, 30), chunks=(5, 10)))[1],
    "svd": lambda: da.linalg.svd(_TALL)[2],
    "svd u": lambda: da.linalg.svd(_TALL)[0],
    "svd_compressed": lambda: da.linalg.svd_compressed(_MATRIX, 5)[0],
    "inv": lambda: da.linalg.inv(_MATRIX),
    "lu": lambda: da.linalg.lu(_MATRIX)[1],
    "cholesky": lambda: da.linalg.cholesky(_MATRIX @ _MATRIX.T),
    "solve": lambda: da.linalg.solve(_MATRIX, da.ones((40,), chunks=10)),
    "lstsq": lambda: da.linalg.lstsq(_TALL, da.ones((60,), chunks=15))[0],
    "cov": lambda: da.cov(_SQUARE),
    "corrcoef": lambda: da.corrcoef(_TALL.T),
    "average": lambda: da.average(_SQUARE, axis=0, weights=_SQUARE),
    "ptp": lambda: da.ptp(_SQUARE, axis=0),
    "count_nonzero": lambda: da.count_nonzero(_SQUARE > 0.5, axis=0),
    "tril": lambda: da.tril(_MATRIX),
    "diag": lambda: da.diag(_LINE),
    "diagonal": lambda: da.diagonal(_SQUARE),
    "trace": lambda: da.trace(_MATRIX),
    "arange": lambda: da.arange(100, chunks=13),
    "linspace": lambda: da.linspace(0, 1, 50, chunks=9),
    "eye": lambda: da.eye(20, chunks=6),
    "indices": lambda: da.indices((6, 8), chunks=(3, 4)),
    "meshgrid": lambda: da.meshgrid(_LINE, _LINE)[0],
    "fromfunction": lambda: da.fromfunction(
        lambda i, j: i + j, shape=(8, 9), chunks=(4, 3), dtype="f8"
    ),
    "random": lambda: da.random.default_rng(0).random((20, 20), chunks=7),
    "random legacy": lambda: da.random.RandomState(0).normal(size=(20, 20), chunks=7),
    "random choice": lambda: da.random.default_rng(0).choice(50, 30, chunks=7),
    "integers": lambda: da.random.default_rng(0).integers(0, 9, 100, chunks=13, dtype="i2"),
    "from_delayed": lambda: da.from_delayed(dask.delayed(np.ones)((3, 4)), (3, 4), dtype="f8"),
    "from_delayed many": lambda: da.concatenate(
        [da.from_delayed(dask.delayed(np.full)((3, 4), n), (3, 4), dtype="i8") for n in range(4)]
    ).mean(0),
    "from_delayed unknown": lambda: (
        da.from_delayed(dask.delayed(np.ones)(3), (np.nan,), dtype="f8") + 1
    ),
    "strings": lambda: da.from_array(np.array(["a", "bcd"] * 9), chunks=4),
    "dates": lambda: (
        da.from_array(np.arange("2000-01-01", "2000-03-01", dtype="M8[D]"), chunks=9)
        + np.timedelta64(1, "D")
    ),
    "objects": lambda: da.from_array(np.array(["a", None] * 9, dtype=object), chunks=4),
    "structured": lambda: da.from_array(np.zeros(30, dtype=[("a", "f4"), ("b", "i8")]), chunks=7)[
        "a"
    ],
    "empty": lambda: da.zeros((0, 3), chunks=1) + 1,
    "zero-dimensional": lambda: da.from_array(np.float64(3)) + 1,
    "persisted": lambda: (_SQUARE + 1).persist(scheduler="sync") * 2,
    "fused": lambda: dask.optimize((_SQUARE + 1) * 2 - 3)[0].sum(0),
    "store": lambda: da.store(_SQUARE, np.zeros((30, 20)), compute=False, lock=False),
    "histogramdd": lambda: da.histogramdd(
        _TALL[:, :2].rechunk((15, 2)), bins=[3, 4], range=((0, 1), (0, 1))
    )[0],
    "compress": lambda: da.compress([True, False, True], _SQUARE, axis=0),
    "extract": lambda: da.extract(_SQUARE > 0.5, _SQUARE),
    "argwhere": lambda: da.argwhere(_SQUARE > 0.5),
    "insert": lambda: da.insert(_SQUARE, 3, 1.0, axis=0),
    "delete": lambda: da.delete(_SQUARE, [2, 3], axis=0),
    "squeeze": lambda: da.squeeze(_SQUARE[3:4]),
    "piecewise": lambda: da.piecewise(_SQUARE, [_SQUARE < 0.5], [0, 1]),
    "unravel": lambda: da.unravel_index(_LINE, (10, 10))[0],
    "view": lambda: _SQUARE.view("i4"),
    "real": lambda: _SQUARE.astype("c16").real,
    "triu_indices": lambda: da.triu_indices(9, chunks=4)[0],
}


def _assign(array: da.Array) -> da.Array:
    changed = array.copy()
    changed[2:9, 3] = 5
    changed[changed > 0.9] = 0
    return changed


def _with_info(block: Any, block_info: Any = None) -> Any:
    return block + (block_info[0]["array-location"][0][0] if block_info else 0)


def _with_id(block: Any, block_id: Any = None) -> Any:
    return block + block_id[0]


def _with_position(block_info: Any = None) -> Any:
    return np.ones(block_info[None]["chunk-shape"])


def _dataset() -> xr.Dataset:
    """Make a small Dataset of three dimensions, and time in months."""
    random = np.random.default_rng(1)
    return xr.Dataset(
        {
            "t": (("time", "y", "x"), random.random((48, 6, 10)).astype("f4")),
            "p": (("time", "y", "x"), random.random((48, 6, 10))),
            "w": (("y", "x"), random.random((6, 10))),
        },
        coords={
            "time": np.arange("2000-01", "2004-01", dtype="M8[M]").astype("M8[ns]"),
            "y": np.linspace(-50, 50, 6),
            "x": np.linspace(0, 90, 10),
            "area": (("y", "x"), random.random((6, 10))),
        },
    ).chunk({"time": 7, "y": 3, "x": 5})


_SMALL: Final = _dataset()
_T: Final = _SMALL.t
_P: Final = _SMALL.p


def _with_flox(make: Callable[[], Any], *, use: bool) -> Callable[[], Any]:
    def made() -> Any:
        with xr.set_options(use_flox=use):
            return make()

    return made


_GROUPED: Final[Mapping[str, Callable[[], Any]]] = {
    "groupby mean": lambda: _T.groupby("time.month").mean(),
    "groupby std": lambda: _P.groupby("time.season").std(),
    "groupby sum": lambda: _P.groupby("time.month").sum("time"),
    "groupby max": lambda: _P.groupby("time.year").max(),
    "groupby count": lambda: _P.groupby("time.year").count(),
    "groupby first": lambda: _P.groupby("time.month").first(),
    "groupby anomaly": lambda: _T.groupby("time.month") - _T.groupby("time.month").mean(),
    "groupby_bins": lambda: _T.groupby_bins("x", [0, 30, 60, 90]).mean(),
    "groupby median": lambda: _P.chunk({"time": -1}).groupby("time.month").median(),
    "groupby all": lambda: _P.groupby("time.month").mean(...),
    "resample mean": lambda: _T.resample(time="YS").mean(),
    "resample max": lambda: _P.resample(time="QS").max(),
    "resample dataset": lambda: _SMALL[["t", "p"]].resample(time="6MS").sum(),
}

#: Objects of xarray, by what makes them; ``flox`` says which need it.
XARRAYS: Final[Mapping[str, Callable[[], Any]]] = {
    "dataset": lambda: _SMALL,
    "mean": lambda: _T.mean("time"),
    "mean of all": lambda: _SMALL.mean(),
    "std": lambda: _P.std(("time", "x")),
    "var no skipna": lambda: _P.var("time", skipna=False),
    "sum": lambda: _T.sum("x"),
    "count": lambda: _T.count("time"),
    "median": lambda: _T.chunk({"time": -1}).median("time"),
    "quantile": lambda: _T.chunk({"time": -1}).quantile([0.1, 0.9], "time"),
    "argmax": lambda: _T.argmax("time"),
    "idxmax": lambda: _T.idxmax("time"),
    "cumsum": lambda: _T.cumsum("time"),
    "rolling mean": lambda: _T.rolling(time=5).mean(),
    "rolling center": lambda: _T.rolling(time=5, center=True).mean(),
    "rolling max": lambda: _T.rolling(x=3, min_periods=1).max(),
    "rolling construct": lambda: _T.rolling(time=5).construct("window"),
    "rolling strided": lambda: _T.rolling(time=4).construct("window", stride=2).mean("window"),
    "rolling two": lambda: _T.rolling(time=3, x=3).mean(),
    "coarsen": lambda: _T.coarsen(x=2, y=3).mean(),
    "coarsen construct": lambda: _T.coarsen(time=12).construct(time=("year", "month")),
    "interp": lambda: _T.interp(x=np.linspace(0, 90, 200)),
    "interp chunked": lambda: _T.chunk({"x": -1}).interp(x=np.linspace(0, 90, 200)),
    "interp two": lambda: _P.interp(x=np.linspace(0, 90, 31), y=np.linspace(-50, 50, 29)),
    "interp points": lambda: _P.interp(
        x=("point", np.linspace(0, 90, 7)), y=("point", np.linspace(-50, 50, 7))
    ),
    "interp time": lambda: _P.interp(time=_SMALL.time[::3]),
    "interp_like": lambda: _P.interp_like(_P.isel(x=slice(None, None, 2)) * 1),
    "interp lazy": lambda: _P.interp(x=xr.DataArray(np.linspace(0, 9, 8), dims="p").chunk(p=3)),
    "ufunc": lambda: np.sqrt(_T),
    "apply_ufunc": lambda: xr.apply_ufunc(np.sqrt, _T, dask="parallelized", output_dtypes=["f4"]),
    "apply_ufunc core": lambda: xr.apply_ufunc(
        lambda x: x.mean(-1),
        _T.chunk({"time": -1}),
        input_core_dims=[["time"]],
        dask="parallelized",
        output_dtypes=["f4"],
    ),
    "apply_ufunc grow": lambda: xr.apply_ufunc(
        lambda x: np.repeat(x[..., None], 12, axis=-1),
        _P,
        output_core_dims=[["member"]],
        dask="parallelized",
        output_dtypes=["f8"],
        dask_gufunc_kwargs={"output_sizes": {"member": 12}},
    ),
    "apply_ufunc two": lambda: xr.apply_ufunc(
        lambda x: (x, x.mean(-1)),
        _P.chunk({"time": -1}),
        input_core_dims=[["time"]],
        output_core_dims=[["time"], []],
        dask="parallelized",
        output_dtypes=["f8", "f8"],
    )[1],
    "apply_ufunc allowed": lambda: xr.apply_ufunc(np.maximum, _T, _P, dask="allowed"),
    "apply_ufunc vectorize": lambda: xr.apply_ufunc(
        lambda x: float(x.sum()),
        _P.chunk({"time": -1}),
        input_core_dims=[["time"]],
        dask="parallelized",
        vectorize=True,
        output_dtypes=["f8"],
    ),
    "xarray map_blocks": lambda: xr.map_blocks(_double, _T, template=_T),
    "xarray map_blocks dataset": lambda: xr.map_blocks(_double, _SMALL, template=_SMALL),
    "xarray map_blocks reduce": lambda: xr.map_blocks(
        _mean_of_time, _T.chunk({"time": -1}), template=_T.mean("time")
    ),
    "concat": lambda: xr.concat([_T, _T], "member"),
    "concat time": lambda: xr.concat(
        [_T.isel(time=slice(20)), _T.isel(time=slice(20, 48))], "time"
    ),
    "concat types": lambda: xr.concat([_T, _P], "member"),
    "merge": lambda: xr.merge([_SMALL[["t"]], _SMALL[["p"]].rename(p="q")]),
    "combine": lambda: xr.combine_by_coords(
        [_SMALL[["t", "p"]].isel(x=slice(5)), _SMALL[["t", "p"]].isel(x=slice(5, 10))]
    ),
    "align": lambda: xr.align(_T, _P.isel(x=slice(3, None)), join="outer")[1],
    "reindex": lambda: _P.reindex(x=[0.0, 5.0, 10.0, 20.0]),
    "rechunk": lambda: _T.chunk({"time": -1, "y": 2, "x": 4}),
    "where": lambda: _T.where(_T > 0.5),
    "where drop": lambda: _T.where(_SMALL.x > 40, drop=True),
    "fillna": lambda: _T.fillna(0),
    "interpolate_na": lambda: _P.chunk({"time": -1}).interpolate_na("time"),
    "mask": lambda: _T * (_SMALL.w > 0.5),
    "weighted mean": lambda: _T.weighted(np.cos(np.deg2rad(_SMALL.y))).mean(("y", "x")),
    "weighted area": lambda: _T.weighted(_SMALL.area).mean(("y", "x")),
    "weighted std": lambda: _P.weighted(_SMALL.w).std("x"),
    "weighted quantile": lambda: (
        _P.chunk({"x": -1}).weighted(_SMALL.w.chunk({"x": -1})).quantile(0.5, dim="x")
    ),
    "dot": lambda: xr.dot(_T, _SMALL.w, dim=("y", "x")),
    "corr": lambda: xr.corr(_T, _P, dim="time"),
    "cov": lambda: xr.cov(_T, _P, dim="time"),
    "polyfit": lambda: _P.chunk({"time": -1}).polyfit("time", 2),
    "polyval": lambda: xr.polyval(
        _P, xr.DataArray([1.0, 2.0], dims="degree", coords={"degree": [0, 1]})
    ),
    "stack": lambda: _T.drop_vars("area").stack(cell=("y", "x"), create_index=False),
    "unstack": lambda: _T.stack(cell=("y", "x")).unstack("cell") * 2,
    "sel": lambda: _T.sel(x=slice(20, 60), time="2001"),
    "sel nearest": lambda: _T.sel(x=33.0, method="nearest"),
    "sel points": lambda: _T.sel(
        x=xr.DataArray([10.0, 20.0], dims="p"), y=xr.DataArray([-50.0, 50.0], dims="p")
    ),
    "isel fancy": lambda: _T.isel(time=[3, 1, 40, 22], x=[0, 9]),
    "isel points": lambda: _T.isel(
        x=xr.DataArray([1, 2, 9], dims="p"), y=xr.DataArray([0, 5, 3], dims="p")
    ),
    "xarray boolean": lambda: _T.isel(time=np.arange(48) % 3 == 0),
    "shift": lambda: _T.shift(time=3),
    "roll": lambda: _T.roll(x=3, roll_coords=False),
    "diff": lambda: _T.diff("time"),
    "pad": lambda: _T.pad(x=2, mode="wrap"),
    "differentiate": lambda: _T.differentiate("x"),
    "integrate": lambda: _T.integrate("x"),
    "sortby": lambda: _T.sortby("x", ascending=False),
    "rank": lambda: _T.chunk({"time": -1}).transpose(..., "time"),
    "transpose": lambda: _T.transpose("x", "time", "y"),
    "expand": lambda: _T.expand_dims(member=3) + 1,
    "broadcast": lambda: xr.broadcast(_SMALL.w, _T)[0] * 2,
    "histogram": lambda: xr.DataArray(da.histogram(_P.data, bins=20, range=(0, 1))[0], dims="bin"),
    "difference of means": lambda: _T.mean("time") - _P.mean("time"),
    "normalise": lambda: (_T - _T.mean("time")) / _T.std("time"),
    "map": lambda: _SMALL.map(abs),
    "astype": lambda: _T.astype("i2"),
    "isnull": lambda: _T.isnull().any("time"),
    "clip": lambda: _T.clip(0, 1),
    "tree": lambda: xr.DataTree.from_dict({"/a": _SMALL.mean("x"), "/b": _SMALL * 2}),
    "cumulative": lambda: _T.cumulative("time").sum(),
    "ewm-like": lambda: _T.cumsum("time") / _T.notnull().cumsum("time"),
    "to_array": lambda: _SMALL[["t", "p"]].to_array("variable"),
    "dates": lambda: xr.DataArray(_SMALL.time.data, dims="time").chunk(time=7).dt.month,
} | {
    f"{name}, {'flox' if use else 'plain'}": _with_flox(make, use=use)
    for name, make in _GROUPED.items()
    for use in (True, False)
}


def _double(block: Any) -> Any:
    return block * 2


def _mean_of_time(block: Any) -> Any:
    return block.mean("time")


def _frame() -> Any:
    pd, dd = __import__("pandas"), __import__("dask.dataframe").dataframe
    random = np.random.default_rng(3)
    frame = pd.DataFrame({"a": random.random(100), "b": random.integers(0, 5, 100)})
    return dd.from_pandas(frame, npartitions=4)


def _bag() -> Any:
    return __import__("dask.bag").bag.from_sequence(range(20), npartitions=4)


#: Collections that are not arrays, by what makes them.
OBJECTS: Final[Mapping[str, Callable[[], Any]]] = {
    "frame": lambda: _frame().assign(c=1.0),
    "frame groupby": lambda: _frame().groupby("b").a.mean(),
    "frame sum": lambda: _frame().a.sum(),
    "frame to array": lambda: _frame().to_dask_array(lengths=True).mean(0),
    "bag": lambda: _bag().map(lambda x: x + 1).sum(),
    "delayed": lambda: dask.delayed(np.ones)(3),
    "delayed over array": lambda: dask.delayed(np.sum)(_SQUARE),
    "delayed of array": lambda: dask.delayed(lambda x: x * 2)(np.ones(50)),
}
