"""Small xarray programs over two sources, made of steps that can be drawn at random.

A step is a name and some numbers, so a failing program prints as what it is and
shrinks to what matters. Every operation takes any array: where it cannot be done
(a mean of a scalar), the array is handed on as it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeAlias

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import is_dask_collection
from dask.delayed import delayed

from support.pair import open_pair, write_pair

__all__ = ["OPERATIONS", "PACKAGINGS", "Program", "Step", "open_sources", "write_sources"]

#: Values that an array of a program may have; broadcasting may not go further.
_MOST_VALUES: Final = 20_000
#: Chunks that an array of a program may have.
_MOST_CHUNKS: Final = 150

_Operation: TypeAlias = Callable[[xr.DataArray, xr.DataArray, int], xr.DataArray]
_Packaging: TypeAlias = Callable[[list[xr.DataArray]], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operation of a program.

    Parameters
    ----------
    operation : str
        Its name in :data:`OPERATIONS`.
    first, second : int
        Which of the arrays made so far it takes, counted round; those with one
        operand ignore the second.
    choice : int
        Chooses among dimensions, sizes and variants.
    """

    operation: str
    first: int
    second: int
    choice: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Steps that make lazy arrays of two sources, and how the last of them are returned.

    Parameters
    ----------
    steps : tuple of Step
        Each may take what those before it made.
    packaging : str
        A name in :data:`PACKAGINGS`: as an array, a Dataset, a tree, …
    """

    steps: tuple[Step, ...]
    packaging: str

    def build(self, first: xr.Dataset, second: xr.Dataset) -> Any:
        """Make the lazy object; computes nothing.

        Parameters
        ----------
        first, second : Dataset
            Such as :func:`write_sources` wrote, opened in any way.
        """
        arrays = [source[name] for name in ("t", "p", "w") for source in (first, second)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for step in self.steps:
                left = arrays[step.first % len(arrays)]
                right = arrays[step.second % len(arrays)]
                try:
                    made = OPERATIONS[step.operation](left, right, step.choice)
                # Sizes without labels that differ; arrays without values that dask cannot pad.
                except (xr.AlignmentError, ZeroDivisionError):
                    made = left
                arrays.append(_bounded(made))
            return PACKAGINGS[self.packaging](arrays[6:][-3:] or arrays[:2])


def write_sources(folder: Path) -> tuple[str, str]:
    """Write two small zarr stores, of both formats and of different chunks.

    Parameters
    ----------
    folder : Path
        Where.

    Returns
    -------
    tuple of str
        The paths of the two. Each has arrays ``t``, ``p`` and ``w``, two-dimensional
        coordinates, attributes, encodings, and time in its own years.
    """
    random = np.random.default_rng(2026)
    sources = []
    for number in range(2):
        values = random.random((2, 12, 6, 8))
        values[:, 3, :, 2] = np.nan
        grid = {"dims": ("time", "y", "x"), "attrs": {"units": "K", "run": number}}
        source = xr.Dataset(
            {
                "t": xr.Variable(data=values[0].astype("f4"), **grid),
                "p": xr.Variable(data=values[1], **grid),
                "w": ("x", random.random(8), {"long_name": "weights"}),
            },
            coords={
                "time": ("time", np.arange(12) + 2 * number, {"axis": "T"}),
                "x": np.linspace(0.0, 7.0, 8),
                "lat": (("y", "x"), random.random((6, 8)), {"units": "degrees_north"}),
            },
            attrs={"title": f"source {number}"},
        )
        chunks = ({"time": 5, "y": 3}, {"time": 4, "x": 3})[number]
        sources.append(source.chunk(chunks))
    packed = {"dtype": "f8", "scale_factor": 0.5, "_FillValue": -1.0}
    return write_pair(folder, sources, encoding={"p": packed})


def open_sources(paths: tuple[str, str]) -> tuple[xr.Dataset, xr.Dataset]:
    """Open what :func:`write_sources` wrote, each tagged with a region of its own.

    Parameters
    ----------
    paths : tuple of str
        The two stores.

    Returns
    -------
    tuple of Dataset
        In ``aws:us-west-2`` and in ``gcp:us-central1``.
    """
    return open_pair(paths)


def _bounded(array: xr.DataArray) -> xr.DataArray:
    """Keep an array small, in values and in chunks, and its labels without repetition."""
    array = array.drop_vars([dim for dim, each in array.indexes.items() if each.has_duplicates])
    while array.size > _MOST_VALUES:
        longest = max(array.sizes, key=lambda dim: array.sizes[dim])
        array = array.isel({longest: slice(None, array.sizes[longest] // 2)})
    if is_dask_collection(array.data) and array.data.npartitions > _MOST_CHUNKS:
        array = array.chunk(dict.fromkeys(array.dims[1:], -1))
    return array


def _dim(array: xr.DataArray, choice: int) -> str | None:
    """Choose a dimension that has something to choose from."""
    dims = [str(dim) for dim in array.dims if array.sizes[dim] > 1]
    return dims[choice % len(dims)] if dims else None


def _along(
    change: Callable[[xr.DataArray, str, int], xr.DataArray],
) -> _Operation:
    """Make an operation of a change along one dimension."""

    def operation(array: xr.DataArray, _: xr.DataArray, choice: int) -> xr.DataArray:
        dim = _dim(array, choice)
        return array if dim is None else change(array, dim, choice // max(array.ndim, 1))

    return operation


def _each(change: Callable[[xr.DataArray], xr.DataArray]) -> _Operation:
    """Make an operation of a change that needs no choice."""
    return lambda array, _, __: change(array)


def _pair(join: Callable[[xr.DataArray, xr.DataArray], xr.DataArray]) -> _Operation:
    """Make an operation of a way to join two arrays."""
    return lambda left, right, _: join(left, right)


def _reduce(array: xr.DataArray, _: xr.DataArray, choice: int) -> xr.DataArray:
    name = ("mean", "std", "sum", "max", "var", "count", "any")[choice % 7]
    dims = [dim for bit, dim in enumerate(array.dims) if choice // 7 >> bit & 1]
    made: xr.DataArray = getattr(array, name)(dims or None, keep_attrs=bool(choice & 1))
    return made


def _whole(array: xr.DataArray, dim: str) -> xr.DataArray:
    """Bring a dimension into one chunk."""
    return array.chunk({dim: -1}) if is_dask_collection(array.data) else array


def _groupby(array: xr.DataArray, dim: str, choice: int) -> xr.DataArray:
    labels = xr.Variable(dim, np.arange(array.sizes[dim]) % 3)
    labelled = array.drop_vars("label", errors="ignore").assign_coords(label=labels)
    if "label" in array.dims:
        return array
    with xr.set_options(use_flox=bool(choice & 1)):
        grouped = labelled.groupby("label")
        return grouped - grouped.mean() if choice & 2 else grouped.mean()


def _interp(array: xr.DataArray, dim: str, _: int) -> xr.DataArray:
    if dim not in array.indexes or array.indexes[dim].has_duplicates:
        return array
    points = array.indexes[dim].to_numpy().astype("f8")
    numeric = _whole(array, dim).astype("f8")
    return numeric.interp({dim: (points[1:] + points[:-1]) / 2})


def _sel(array: xr.DataArray, dim: str, choice: int) -> xr.DataArray:
    if dim not in array.indexes or not array.indexes[dim].is_monotonic_increasing:
        return array
    labels = array.indexes[dim]
    return array.sel({dim: slice(labels[min(choice % 3, len(labels) - 1)], labels[-1])})


def _stack(array: xr.DataArray, _: xr.DataArray, choice: int) -> xr.DataArray:
    dims = [dim for dim in array.dims if dim != "cell"]
    if len(dims) < 2 or "cell" in array.dims:
        return array
    turned = [*dims[choice % len(dims) :], *dims[: choice % len(dims)]]
    return array.stack(cell=turned[:2], create_index=False).drop_vars(turned[:2], errors="ignore")


def _fourier(array: xr.DataArray, dim: str, _: int) -> xr.DataArray:
    whole = _whole(array, dim)
    made = da.fft.fft(da.asarray(whole.data), axis=whole.get_axis_num(dim))
    return whole.copy(data=abs(made))


def _triangle(array: xr.DataArray, _: xr.DataArray, __: int) -> xr.DataArray:
    """Make the triangle of a QR decomposition: its tasks return tuples."""
    if array.ndim != 2 or array.shape[0] < array.shape[1]:
        return array
    values = da.asarray(array.data).astype("f8").rechunk({0: array.shape[1], 1: -1})
    return xr.DataArray(abs(da.linalg.qr(values)[1]), dims=("row", array.dims[1]))


def _halve(block: xr.DataArray) -> xr.DataArray:
    return block / 2


def _map_xarray(array: xr.DataArray, _: xr.DataArray, __: int) -> xr.DataArray:
    if not (array.ndim and is_dask_collection(array.data) and array.dtype.kind == "f"):
        return array
    # Coordinates that are lazy themselves become inputs of every block.
    return xr.map_blocks(
        _halve, array.reset_coords(drop=True), template=array.reset_coords(drop=True)
    )


def _core(array: xr.DataArray, dim: str, _: int) -> xr.DataArray:
    made: xr.DataArray = xr.apply_ufunc(
        np.sort,
        _whole(array, dim),
        input_core_dims=[[dim]],
        output_core_dims=[[dim]],
        dask="parallelized",
        output_dtypes=[array.dtype],
    )
    return made


def _concat(left: xr.DataArray, right: xr.DataArray, choice: int) -> xr.DataArray:
    if set(left.dims) != set(right.dims):
        return left
    dim = _dim(left, choice) if choice & 1 else None
    bare = [each.reset_coords(drop=True) for each in (left, right)]
    if dim is not None and not all(dim in each.indexes for each in bare):
        bare = [each.drop_vars(dim, errors="ignore") for each in bare]
    new = next(name for name in map("member{}".format, count()) if name not in left.dims)
    return xr.concat(bare, dim or new, join="inner", coords="minimal", compat="override")


def _maximum(left: xr.DataArray, right: xr.DataArray) -> xr.DataArray:
    made: xr.DataArray = xr.apply_ufunc(np.maximum, left, right, dask="allowed")
    return made


def _where(left: xr.DataArray, right: xr.DataArray) -> xr.DataArray:
    return left.where(right > 0.5)


def _corr(left: xr.DataArray, right: xr.DataArray, choice: int) -> xr.DataArray:
    dim = _dim(left, choice)
    if dim is None or dim not in right.dims or {left.dtype.kind, right.dtype.kind} != {"f"}:
        return left
    made: xr.DataArray = xr.corr(left, right, dim=dim)
    return made


def _dot(left: xr.DataArray, right: xr.DataArray, choice: int) -> xr.DataArray:
    dim = _dim(left, choice)
    return left if dim is None or dim not in right.dims else xr.dot(left, right, dim=dim)


def _masked(array: xr.DataArray, dim: str, choice: int) -> xr.DataArray:
    """Weigh by values in memory: they start at the client and travel with the graph."""
    weights = np.random.default_rng(choice).random(array.sizes[dim])
    return array * xr.DataArray(weights, dims=dim)


def _lazy_memory(array: xr.DataArray, dim: str, choice: int) -> xr.DataArray:
    """Add chunked values in memory: nodes of the graph that are data, not tasks."""
    values = np.random.default_rng(choice).random(array.sizes[dim])
    return array + xr.DataArray(values, dims=dim).chunk({dim: 1 + choice % 4})


#: Operations by name: each takes two arrays and a number, and makes an array.
OPERATIONS: Final[Mapping[str, _Operation]] = {
    "reduce": _reduce,
    "argmax": _along(lambda x, d, c: x.argmax(d, skipna=False)),
    "quantile": _along(lambda x, d, c: _whole(x, d).quantile(0.3, d).drop_vars("quantile")),
    "cumsum": _along(lambda x, d, c: x.cumsum(d)),
    "slice": _along(lambda x, d, c: x.isel({d: slice(c % 2, None, 1 + c % 3)})),
    "reverse": _along(lambda x, d, c: x.isel({d: slice(None, None, -1)})),
    "pick": _along(lambda x, d, c: x.isel({d: c % x.sizes[d]})),
    "fancy": _along(lambda x, d, c: x.isel({d: [1, 0]})),
    "sel": _along(_sel),
    "transpose": lambda x, _, c: x.transpose(
        *x.dims[c % max(x.ndim, 1) :], *x.dims[: c % max(x.ndim, 1)]
    ),
    "rolling": _along(lambda x, d, c: x.rolling({d: 3}, min_periods=1, center=bool(c & 1)).mean()),
    "coarsen": _along(lambda x, d, c: x.coarsen({d: 2}, boundary="trim").mean()),
    "groupby": _along(_groupby),
    "shift": _along(lambda x, d, c: x.shift({d: 1 + c % 2})),
    "roll": _along(lambda x, d, c: x.roll({d: c % 5})),
    "pad": _along(lambda x, d, c: x.pad({d: (c % 2, 1)}, mode="edge")),
    "diff": _along(lambda x, d, c: x.diff(d) if x.dtype.kind != "b" else x),
    "rechunk": _along(lambda x, d, c: x.chunk({d: 1 + c % x.sizes[d]})),
    "interp": _along(_interp),
    "fourier": _along(_fourier),
    "core": _along(_core),
    "masked": _along(_masked),
    "lazy memory": _along(_lazy_memory),
    "stack": _stack,
    "triangle": _triangle,
    "xarray map_blocks": _map_xarray,
    "astype": _each(lambda x: x.astype("f4")),
    "root": _each(
        lambda x: xr.apply_ufunc(np.sqrt, abs(x), dask="parallelized", output_dtypes=["f8"])
    ),
    "block": _each(lambda x: x.copy(data=da.asarray(x.data).map_blocks(np.nan_to_num))),
    "large": _each(lambda x: x.where(x > 0.5)),
    "add": _pair(lambda left, right: left + right),
    "subtract": _pair(lambda left, right: left - right),
    "multiply": _pair(lambda left, right: left * right),
    "maximum": _pair(_maximum),
    "where": _pair(_where),
    "concat": _concat,
    "corr": _corr,
    "dot": _dot,
}


def _dataset(arrays: list[xr.DataArray]) -> xr.Dataset:
    bare = [each.reset_coords(drop=True).rename(f"v{n}") for n, each in enumerate(arrays)]
    try:
        return xr.merge(bare, join="inner", compat="override")
    except xr.AlignmentError:
        return bare[-1].to_dataset()


def _derived(arrays: list[xr.DataArray]) -> xr.Dataset:
    """Make a Dataset of which one variable derives from another."""
    base = arrays[-1].to_dataset(name="base")
    return base.assign(derived=base.base * 2, total=base.base.sum())


#: Ways to return arrays, by name.
PACKAGINGS: Final[Mapping[str, _Packaging]] = {
    "array": lambda arrays: arrays[-1],
    "dataset": _dataset,
    "derived": _derived,
    "tree": lambda arrays: xr.DataTree.from_dict(
        {"/outer": _dataset(arrays), "/outer2/inner": _derived(arrays)}
    ),
    "list": lambda arrays: [*arrays, 7],
    "dict": lambda arrays: {"last": arrays[-1], "all": arrays},
    "dask": lambda arrays: [da.asarray(array.data) for array in arrays],
    "delayed": lambda arrays: delayed(np.shape)(da.asarray(arrays[-1].data)),
}
