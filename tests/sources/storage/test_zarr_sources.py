import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import dask
import dask.array as da
import numpy as np
import pytest
import s3fs
import xarray as xr
import zarr
from zarr.storage import FsspecStore, LocalStore, LoggingStore, MemoryStore, ZipStore

from xr_locality.sources import Found, find_sources

FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])


@pytest.fixture(autouse=True)
def no_consolidation_warning() -> Iterator[None]:
    """Let zarr warn that format 3 does not specify consolidated metadata."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        yield


def held(collection: Any) -> list[object]:
    """List what the layers of a collection hold, symbolic ones as they are."""
    graph = collection.__dask_graph__()
    return [vars(layer) for layer in graph.layers.values()]


def by_name(objects: list[object]) -> dict[str, Found]:
    """Find sources, by the last part of their URLs."""
    return {found.url.rpartition("/")[2]: found for found in find_sources(objects)}


def stored(directory: Path) -> int:
    """Add up the sizes of an array's chunks on disk."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return sum(
        path.stat().st_size
        for path in files
        if path.name not in ("zarr.json", ".zarray", ".zattrs")
    )


@FORMATS
def test_local_zarr(dataset: xr.Dataset, zarr_format: Literal[2, 3], tmp_path: Path) -> None:
    """Each variable of a dataset on disk is found, with its size in memory and on disk."""
    dataset.to_zarr(tmp_path / "a.zarr", zarr_format=zarr_format)
    found = by_name(held(xr.open_zarr(tmp_path / "a.zarr")))
    assert list(found) == ["tp", "tp2"]
    tp = found["tp"]
    assert tp.url == f"file://{tmp_path}/a.zarr/tp"
    assert tp.group_url == f"file://{tmp_path}/a.zarr"
    assert tp.detail == "zarr array '/tp'"
    assert tp.array_nbytes == 100 * 20 * 8
    assert tp.stored_nbytes() == stored(tmp_path / "a.zarr" / "tp") > 0


@FORMATS
def test_zarr_on_s3(
    dataset: xr.Dataset, zarr_format: Literal[2, 3], s3_options: dict[str, Any], tmp_path: Path
) -> None:
    """A variable on S3 is found with its endpoint; its stored size comes from one listing."""
    url = f"s3://data/v{zarr_format}/a.zarr"
    dataset.to_zarr(url, zarr_format=zarr_format, storage_options=s3_options)
    dataset.to_zarr(tmp_path / "a.zarr", zarr_format=zarr_format)
    found = by_name(held(xr.open_zarr(url, storage_options=s3_options)))
    assert list(found) == ["tp", "tp2"]
    tp = found["tp"]
    assert (tp.url, tp.group_url) == (f"{url}/tp", url)
    assert tp.store.endpoint_url == s3_options["endpoint_url"]
    assert tp.store.protocol == "s3"
    assert tp.array_nbytes == 100 * 20 * 8
    assert tp.stored_nbytes() == stored(tmp_path / "a.zarr" / "tp")
    assert s3_options["secret"] not in repr(tp)


def test_finding_contacts_no_network(dataset: xr.Dataset) -> None:
    """Sources are found without a word to the store, which need not even be there."""
    options = {
        "key": "k",
        "secret": "s",
        "endpoint_url": "http://127.0.0.1:9",
        "asynchronous": True,
    }
    store = FsspecStore(s3fs.S3FileSystem(**options), path="data/a.zarr")
    metadata = zarr.create_array(MemoryStore(), shape=(4,), chunks=(2,), dtype="f8").metadata
    array = zarr.Array(
        zarr.AsyncArray(metadata=metadata, store_path=zarr.storage.StorePath(store, "tp"))
    )
    (found,) = find_sources([array])
    assert found.url == "s3://data/a.zarr/tp"
    assert found.array_nbytes == 32


@pytest.mark.parametrize(
    "make",
    [
        lambda path: da.from_zarr(str(path / "a.zarr"), component="tp"),
        lambda path: da.from_array(zarr.open_group(path / "a.zarr", mode="r")["tp"]),
        lambda path: da.from_array(
            zarr.open_group(path / "a.zarr", mode="r")["tp"], inline_array=True
        ),
        lambda path: xr.open_zarr(path / "a.zarr").tp.isel(time=slice(3)).mean("x"),
        lambda path: xr.open_dataset(path / "a.zarr", engine="zarr", chunks={}).tp.data.rechunk(7),
        lambda path: xr.open_zarr(path / "a.zarr").tp.rolling(time=3).mean(),
        lambda path: dask.delayed(np.asarray)(xr.open_zarr(path / "a.zarr", chunks=None).tp),
        lambda path: dask.delayed(np.asarray)(zarr.open_group(path / "a.zarr")["tp"]),
        lambda path: dask.optimize(xr.open_zarr(path / "a.zarr").tp.mean())[0],
    ],
    ids="""from_zarr from_array from_array-inline slice-and-mean open_dataset rolling delayed-xarray
    delayed-zarr optimized""".split(),
)
def test_ways_to_read_zarr(
    make: Callable[[Path], Any], dataset: xr.Dataset, tmp_path: Path
) -> None:
    """However dask came to read an array, the graph tells where it is."""
    dataset[["tp"]].to_zarr(tmp_path / "a.zarr", zarr_format=2)
    (found,) = find_sources(held(make(tmp_path)))
    assert found.url == f"file://{tmp_path}/a.zarr/tp"
    assert found.array_nbytes == 100 * 20 * 8


def test_dataset_without_chunks_is_looked_through(dataset: xr.Dataset, tmp_path: Path) -> None:
    """A dataset inside a task is its variables, not its store as a whole."""
    dataset.to_zarr(tmp_path / "a.zarr", zarr_format=2)
    assert list(by_name([xr.open_zarr(tmp_path / "a.zarr", chunks=None)])) == ["tp", "tp2"]


def test_open_mfdataset(dataset: xr.Dataset, s3_options: dict[str, Any], tmp_path: Path) -> None:
    """Of several stores opened as one dataset, each is found."""
    dataset[["tp"]].to_zarr(tmp_path / "a.zarr", zarr_format=2)
    later = dataset[["tp"]].assign_coords(time=dataset.time + 100)
    later.to_zarr("s3://data/mf.zarr", zarr_format=2, storage_options=s3_options)
    joined = xr.concat(
        [
            xr.open_zarr(tmp_path / "a.zarr"),
            xr.open_zarr("s3://data/mf.zarr", storage_options=s3_options),
        ],
        "time",
    )
    urls = [found.group_url for found in find_sources(held(joined.tp.data))]
    assert urls == [f"file://{tmp_path}/a.zarr", "s3://data/mf.zarr"]

    later.to_zarr(tmp_path / "b.zarr", zarr_format=2)
    both = xr.open_mfdataset(str(tmp_path / "*.zarr"), engine="zarr")
    urls = [found.group_url for found in find_sources(held(both))]
    assert urls == [f"file://{tmp_path}/{name}.zarr" for name in "ab"]


def test_mapper(dataset: xr.Dataset, s3_options: dict[str, Any]) -> None:
    """A dataset opened from a mapping is found where the mapping is."""
    dataset.to_zarr("s3://data/mapped.zarr", zarr_format=2, storage_options=s3_options)
    mapper = s3fs.S3FileSystem(**s3_options).get_mapper("data/mapped.zarr")
    found = by_name(held(xr.open_dataset(mapper, engine="zarr", chunks={})))
    assert found["tp"].url == "s3://data/mapped.zarr/tp"
    assert found["tp"].store.endpoint_url == s3_options["endpoint_url"]


def test_memory_stores_are_told_apart() -> None:
    """Two stores in memory are two places; two views of one are one."""
    first, second = MemoryStore(), MemoryStore()
    arrays = [
        zarr.create_array(store, name="x", shape=(4,), chunks=(2,), dtype="f8", compressors=None)
        for store in (first, second)
    ]
    arrays[0][:] = 1
    one, two = find_sources(arrays)
    assert one.store.protocol == "memory"
    assert one.store != two.store
    assert (one.stored_nbytes(), two.stored_nbytes()) == (32, 0)
    (again,) = find_sources([zarr.open_array(first.with_read_only(True), path="x", mode="r")])
    assert again.store == one.store


def test_groups_and_stores(tmp_path: Path) -> None:
    """A group or a store is a source of unknown size."""
    group = zarr.open_group(tmp_path / "a.zarr", mode="w").create_group("inner")
    (found,) = find_sources([group])
    assert found.url == f"file://{tmp_path}/a.zarr/inner"
    assert (found.array_nbytes, found.stored_nbytes()) == (None, None)
    for held_store in (LocalStore(tmp_path), zarr.storage.StorePath(LocalStore(tmp_path), "")):
        (found,) = find_sources([held_store])
        assert found.url == f"file://{tmp_path}"


def test_wrapped_store(dataset: xr.Dataset, tmp_path: Path) -> None:
    """A store around another is where the inner one is."""
    dataset.to_zarr(tmp_path / "a.zarr", zarr_format=2)
    store = LoggingStore(LocalStore(tmp_path / "a.zarr", read_only=True), log_level="ERROR")
    found = by_name(held(xr.open_zarr(store)))
    assert found["tp"].url == f"file://{tmp_path}/a.zarr/tp"
    assert found["tp"].stored_nbytes() == stored(tmp_path / "a.zarr" / "tp")


def test_zip_store(tmp_path: Path) -> None:
    """An array in a zip archive is where the archive is."""
    with ZipStore(tmp_path / "a.zip", mode="w") as store:
        array = zarr.create_array(store, name="x", shape=(4,), dtype="f8")
        (found,) = find_sources([array])
    assert found.url == f"file://{tmp_path}/a.zip"
    assert found.array_nbytes == 32
    assert found.stored_nbytes() is None


def test_unknown_store_is_a_source_all_the_same() -> None:
    """A store of a kind that nobody knows is reported, so that its region can be asked for."""
    tape = type("Tape", (zarr.abc.store.Store,), {})
    tape.__abstractmethods__ = frozenset()
    one, two = find_sources([tape(), tape()])
    assert one.store.protocol == "unknown"
    assert one.store.bucket.endswith("Tape")
    assert one.store != two.store


def test_size_of_many_chunks_is_not_asked(tmp_path: Path) -> None:
    """An array of too many chunks to list is of unknown stored size."""
    array = zarr.create_array(tmp_path / "a.zarr", shape=(20_000,), chunks=(1,), dtype="i1")
    (found,) = find_sources([array])
    assert found.array_nbytes == 20_000
    assert found.stored_nbytes() is None


def test_shards_are_what_is_listed(tmp_path: Path) -> None:
    """Many chunks in few shards are few objects, which can be listed."""
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(20_000,), chunks=(1,), shards=(10_000,), dtype="i1"
    )
    array[:1] = 1
    (found,) = find_sources([array])
    assert found.stored_nbytes() == stored(tmp_path / "a.zarr")


def test_failing_listing_gives_no_size(
    dataset: xr.Dataset, s3_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that does not answer is of unknown stored size; it is asked once."""
    dataset.to_zarr("s3://data/fails.zarr", zarr_format=2, storage_options=s3_options)
    found = by_name(held(xr.open_zarr("s3://data/fails.zarr", storage_options=s3_options)))
    asked = []

    def refuse(*args: Any, **kwargs: Any) -> None:
        asked.append(args)
        raise PermissionError("AccessDenied")

    monkeypatch.setattr(s3fs.S3FileSystem, "find", refuse)
    assert found["tp"].stored_nbytes() is None
    assert found["tp"].stored_nbytes() is None
    assert len(asked) == 1


def test_scalar_array(tmp_path: Path) -> None:
    """An array without dimensions has a size too."""
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(), dtype="f8", compressors=None, fill_value=0
    )
    array[...] = 1
    (found,) = find_sources([array])
    assert (found.array_nbytes, found.stored_nbytes()) == (8, 8)
