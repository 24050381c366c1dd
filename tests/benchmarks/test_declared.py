from __future__ import annotations

import asyncio
import pickle
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

import xr_locality as xl
from benchmarks.harness.declared import DeclaredStore, DeclaredVariable, declare
from support.answers import assert_same


def model(name: str = "model", *, n_times: int = 1000) -> DeclaredStore:
    """Declare a store of packed integers and of floats."""
    return declare(
        name,
        coords={
            "time": (np.arange(n_times), {"units": "hours since 2000-01-01"}),
            "x": (np.linspace(0, 1, 50), {"units": "1"}),
        },
        variables={
            "t": DeclaredVariable(dims=("time", "x"), chunks=(100, 20), attrs={"units": "K"}),
            "t2": DeclaredVariable(dims=("x",), chunks=(25,), dtype="f8"),
        },
    )


def opened(store: DeclaredStore) -> xr.Dataset:
    """Open a store lazily."""
    return xr.open_zarr(store, chunks={}, consolidated=False)


def test_opening_makes_no_chunk(caplog: pytest.LogCaptureFixture) -> None:
    """Metadata and coordinates are all that opening reads, however large the arrays."""
    caplog.set_level("DEBUG", "benchmarks.harness.declared")
    dataset = opened(model(n_times=100_000))
    assert dataset.t.data.npartitions == 3000
    assert dataset.t.dtype == "f4"
    assert dataset.t.attrs == {"units": "K"}
    assert dataset.x.values[-1] == 1.0
    assert not [each for each in caplog.records if each.name == "benchmarks.harness.declared"]


def test_values_depend_on_names_alone() -> None:
    """Two stores of one declaration, and a store that was pickled, give the same values."""
    dataset = opened(model())
    again, sent = opened(model()), pickle.loads(pickle.dumps(dataset))
    assert again.t.data.name == dataset.t.data.name
    expected = dataset.compute()
    assert_same(again.compute(), expected)
    xr.testing.assert_identical(sent.compute(), expected)
    assert not np.isnan(expected.t).any()
    assert len(np.unique(expected.t)) > 900
    other = opened(model("another"))
    assert other.t.data.name != dataset.t.data.name
    assert not np.array_equal(other.t.compute(), expected.t)


def test_listings_state_what_reading_gives() -> None:
    """Stated bytes are those of the chunks that are read, by zarr's and by our own question."""
    store = model()
    array = zarr.open_group(store, mode="r")["t"]
    assert isinstance(array, zarr.Array)

    async def ask() -> tuple[list[str], list[int], list[int], int]:
        keys = [key async for key in store.list_prefix("t/c/")]
        sizes = [await store.getsize(key) for key in keys]
        prototype = zarr.core.buffer.default_buffer_prototype()
        values = [await store.get(key, prototype) for key in keys]
        total = await store.getsize_prefix("t")
        return keys, sizes, [len(value) for value in values if value is not None], total

    keys, sizes, read, total = asyncio.run(ask())
    assert len(keys) == array.nchunks == 30
    assert sizes == read
    metadata = len(store._store_dict.held["t/zarr.json"])
    assert total == sum(sizes) + metadata


def test_stored_bytes_are_half_of_the_values() -> None:
    """A plan knows the stored bytes of packed data, chunks at the edge in full."""
    dataset = opened(model())
    xl.tag(dataset, "aws:us-west-2")
    (source,) = dataset.t.locality.sources
    assert source.url == "memory://model"
    assert source.nbytes == 30 * 100 * 20 * 2


@pytest.mark.parametrize("key", ["t/c/10/0", "t/c/0", "t/c/a/0", "q/c/0/0", "t/c/-1/0", "nothing"])
def test_other_keys_do_not_exist(key: str) -> None:
    """What was not declared is not there."""
    store = model()

    async def ask() -> Any:
        exists = await store.exists(key)
        return exists, await store.get(key, zarr.core.buffer.default_buffer_prototype())

    assert asyncio.run(ask()) == (False, None)
    with pytest.raises(FileNotFoundError):
        asyncio.run(store.getsize(key))
