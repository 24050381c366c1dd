"""Programs on dask's other collections: DataFrames, Bags and Delayeds of both regions."""

from __future__ import annotations

from operator import add
from typing import Any, Final

import dask.array as da
import numpy as np
import xarray as xr
from dask.delayed import delayed

from support.realistic.model import RealisticProgram, declared, program

__all__ = ["PROGRAMS"]


def _table(source: xr.Dataset, *names: str) -> Any:
    """Make a lazy DataFrame of a model's first days, a row for each cell and day."""
    return source[list(names)].sel(time=slice("2001-01-13", "2001-01-24")).to_dask_dataframe()


def _blocks(array: da.Array) -> list[Any]:
    """List an array's blocks as Delayeds."""
    return list(np.ravel(array.to_delayed(optimize_graph=False)))


@program("dataframe", needs="pyarrow")
def means_by_latitude(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Group each model's table by latitude, and subtract the small tables."""
    one = _table(first, "t").groupby("lat").t.mean()
    return one - _table(second, "t").groupby("lat").t.mean()


@program("dataframe", needs="pyarrow")
def tables_joined(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Join one model's table with the other's means by latitude, and reduce."""
    means = _table(second, "q").groupby("lat").q.mean().to_frame("mean").reset_index()
    joined = _table(first, "u").merge(means, on="lat", broadcast=True, shuffle_method="tasks")
    return (joined.u * joined["mean"]).sum()


@program("dataframe", needs="pyarrow")
def tables_stacked(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Stack both models' tables, filter rows, and describe what is left."""
    import dask.dataframe as dd

    rows = dd.concat([_table(first, "u", "v"), _table(second, "u", "v")])
    windy = rows[rows.u**2 + rows.v**2 > 2]
    return windy.groupby("lon")[["u", "v"]].agg(["max", "count"])


@program("dataframe", needs="pyarrow")
def rows_shuffled_by_tasks(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Shuffle rows of both regions by day, task by task, and count them."""
    import dask.dataframe as dd

    rows = dd.concat([_table(first, "u"), _table(second, "u")])
    shuffled = rows.shuffle("time", npartitions=3, shuffle_method="tasks")
    return shuffled.map_partitions(len, meta=(None, "i8")).sum()


@program("dataframe", needs="pyarrow", p2p=True)
def rows_shuffled_p2p(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Shuffle rows of both regions by day peer to peer, and reduce them."""
    import dask.dataframe as dd

    rows = dd.concat([_table(first, "u"), _table(second, "u")])
    return rows.shuffle("time", npartitions=3, shuffle_method="p2p").u.max()


@program("bag")
def largest_of_blocks(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Fold a bag of all blocks of both models into one number."""
    import dask.bag as db

    blocks = [*_blocks(first.u.data), *_blocks(second.u.data)]
    bag = db.from_delayed([delayed(list)([block]) for block in blocks])
    return bag.map(np.max).fold(max)


@program("bag")
def counts_by_sign(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Count, in bags, what kind of days the models have."""
    import dask.bag as db

    series = [model.t.mean(["lat", "lon"]).data for model in (first, second)]
    days = [db.from_delayed(list(map(delayed(list), _blocks(each)))) for each in series]
    joined = db.concat(days).map(lambda day: ("cold", "warm")[int(day > 300.3)])
    return [joined.frequencies(sort=True), days[0].product(days[1]).count()]


@program("delayed")
def tree_of_sums(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Add up blocks of both regions by a tree of Delayeds that knows no arrays."""
    level = [delayed(np.nansum)(block) for block in _blocks(first.u.data)]
    level += [delayed(np.nansum)(block) for block in _blocks(second.v.data)]
    while len(level) > 1:
        level = [delayed(sum)(level[n : n + 2]) for n in range(0, len(level), 2)]
    return level[0]


@program("delayed")
def function_of_both_means(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Call a function with a whole array of each region."""
    one, other = first.t.mean("time").data, second.t.mean("time").data
    return delayed(np.nanmax)(delayed(np.subtract)(one, other))


@program("delayed")
def back_to_arrays(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Make arrays again of what Delayeds made, and reduce them with others."""
    halves = [
        da.from_delayed(delayed(np.mean)(block, axis=0), shape=(3, 8), dtype="f8")
        for block in _blocks(first.u.data)
    ]

    maps = da.stack([da.concatenate(halves[n : n + 2]) for n in range(0, len(halves), 2)])
    return maps.mean(axis=0) - second.u.mean("time").data


@program("delayed")
def everything_at_once(first: xr.Dataset, second: xr.Dataset) -> Any:
    """Return arrays, Datasets and Delayeds that share their inputs, in containers."""
    difference = first.t - second.t
    return {
        "map": difference.mean("time"),
        "dataset": difference.to_dataset(name="d").assign(share=second.t.mean("time") / 2).max(),
        "loose": [delayed(add)(difference.count().data, 1), difference.data.max(), "text"],
    }


PROGRAMS: Final[tuple[RealisticProgram, ...]] = declared(vars())
