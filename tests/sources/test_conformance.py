"""Every finder keeps what `SourceFinderTests` asks for."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import numpy as np
import pytest
import s3fs
import xarray as xr
import zarr
from xarray.backends.common import BackendArray
from zarr.storage import FsspecStore, LocalStore, MemoryStore, ObjectStore, StorePath

from xr_locality.compat.dask_graph import Task, TaskRef
from xr_locality.regions.store import Store
from xr_locality.sources.finder import SourceFinder
from xr_locality.sources.storage.dataframe import DataFrameFinder
from xr_locality.sources.storage.files import FileFinder
from xr_locality.sources.storage.fsspec import FsspecFinder
from xr_locality.sources.storage.futures import FutureFinder
from xr_locality.sources.storage.hdf5 import Hdf5Finder
from xr_locality.sources.storage.icechunk import IcechunkFinder
from xr_locality.sources.storage.kerchunk import KerchunkFinder
from xr_locality.sources.storage.netcdf import NetcdfFinder
from xr_locality.sources.storage.obstore import ObstoreFinder
from xr_locality.sources.storage.raster import RasterFinder
from xr_locality.sources.storage.unknown import UnknownFinder
from xr_locality.sources.storage.virtualizarr import VirtualizarrFinder
from xr_locality.sources.storage.xarray import XarrayFinder
from xr_locality.sources.storage.zarr import ZarrFinder
from xr_locality.testing.finders import Example, SourceFinderTests

SECRET = "not-to-be-shown"
#: Nobody listens there.
ENDPOINT = "http://127.0.0.1:9"


def s3_store(path: str) -> Store:
    """Make the store of a path in a bucket of a service of our own."""
    bucket, _, key = path.partition("/")
    return Store(protocol="s3", bucket=bucket, path=key, endpoint_url=ENDPOINT)


@functools.cache
def s3(**options: Any) -> s3fs.S3FileSystem:
    """Make a filesystem of a service where nobody listens."""
    return s3fs.S3FileSystem(key="k", secret=SECRET, endpoint_url=ENDPOINT, **options)


def zarr_array(store: Any, path: str = "tp") -> zarr.Array[Any]:
    """Make an array that lies in a store, without a word to the store."""
    metadata = zarr.create_array(MemoryStore(), shape=(4,), chunks=(2,), dtype="f8").metadata
    return zarr.Array(zarr.AsyncArray(metadata=metadata, store_path=StorePath(store, path)))


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Give each test class a directory."""
    if request.instance is not None:
        request.instance.directory = tmp_path


class TestZarrFinder(SourceFinderTests):
    directory: Path

    def make_finder(self) -> SourceFinder:
        """Make the finder."""
        return ZarrFinder()

    def make_examples(self) -> list[Example]:
        """Make what it knows."""
        remote = FsspecStore(s3(asynchronous=True), path="bucket/a.zarr")
        local = zarr.create_array(
            self.directory / "a.zarr", name="tp", data=np.ones(4), compressors=None
        )
        place = Store.at("file", str(self.directory / "a.zarr"))
        return [
            Example(
                name="array",
                obj=zarr_array(remote),
                stores=[s3_store("bucket/a.zarr/tp")],
                array_nbytes=32,
                secrets=[SECRET],
            ),
            Example(name="store", obj=remote, stores=[s3_store("bucket/a.zarr")], secrets=[SECRET]),
            Example(
                name="local",
                obj=local,
                stores=[place / "tp"],
                array_nbytes=32,
                stored_nbytes=32,
            ),
            Example(
                name="place", obj=StorePath(LocalStore(self.directory / "a.zarr")), stores=[place]
            ),
        ]


class TestFsspecFinder(SourceFinderTests):
    def make_finder(self) -> SourceFinder:
        """Make the finder."""
        return FsspecFinder()

    def make_examples(self) -> list[Example]:
        """Make what it knows."""
        fsspec.filesystem("memory").pipe("/conformance/a", b"123")
        return [
            Example(
                name="mapping",
                obj=s3().get_mapper("bucket/a.zarr"),
                stores=[s3_store("bucket/a.zarr")],
                secrets=[SECRET],
            ),
            Example(
                name="file to open",
                obj=fsspec.core.OpenFile(s3(), "bucket/a.nc"),
                stores=[s3_store("bucket/a.nc")],
                secrets=[SECRET],
            ),
            Example(
                name="signed URL",
                obj=fsspec.core.OpenFile(
                    fsspec.filesystem("https"), f"https://u:{SECRET}@host.org/a.nc?sig={SECRET}"
                ),
                stores=[Store(protocol="https", bucket="host.org", path="a.nc")],
                secrets=[SECRET],
            ),
            Example(
                name="file in memory",
                obj=fsspec.open("memory://conformance/a").open(),
                stores=[Store(protocol="memory", path="conformance/a")],
                stored_nbytes=3,
            ),
        ]


class TestFileFinder(SourceFinderTests):
    directory: Path

    def make_finder(self) -> SourceFinder:
        """Make the finder."""
        return FileFinder()

    @pytest.fixture
    def examples(self) -> Any:
        """Make what it knows."""
        path = self.directory / "a.bin"
        path.write_bytes(b"\0" * 80)
        store = Store.at("file", str(path))
        with path.open("rb") as opened:
            yield [
                Example(name="file", obj=opened, stores=[store], stored_nbytes=80),
                Example(name="memory map", obj=np.memmap(path, "f8", "r"), stores=[store]),
            ]


class TestObstoreFinder(SourceFinderTests):
    directory: Path

    def make_finder(self) -> SourceFinder:
        """Make the finder."""
        return ObstoreFinder()

    def make_examples(self) -> list[Example]:
        """Make what it knows."""
        stores = pytest.importorskip("obstore.store")
        remote = stores.S3Store(
            "bucket",
            prefix="a.zarr",
            region="us-west-2",
            endpoint=ENDPOINT,
            access_key_id="k",
            secret_access_key=SECRET,
            client_options={"allow_http": True},
        )
        (self.directory / "tp").mkdir(exist_ok=True)
        (self.directory / "tp" / "c").write_bytes(b"12345")
        (self.directory / "tp" / "zarr.json").write_bytes(b"{}")
        local = stores.LocalStore(self.directory)
        memory = stores.MemoryStore()
        azure = stores.AzureStore("box", account_name="acc", skip_signature=True)
        return [
            Example(name="s3", obj=remote, stores=[s3_store("bucket/a.zarr")], secrets=[SECRET]),
            Example(
                name="array",
                obj=zarr_array(ObjectStore(remote)),
                stores=[s3_store("bucket/a.zarr/tp")],
                array_nbytes=32,
                secrets=[SECRET],
            ),
            Example(
                name="local array",
                obj=zarr_array(ObjectStore(local)),
                stores=[Store.at("file", str(self.directory / "tp"))],
                stored_nbytes=5,
            ),
            Example(
                name="gcs",
                obj=stores.GCSStore("bucket", prefix="p", skip_signature=True),
                stores=[Store(protocol="gs", bucket="bucket", path="p")],
            ),
            Example(
                name="azure",
                obj=azure,
                stores=[Store(protocol="az", bucket="box", account="acc")],
            ),
            Example(
                name="http",
                obj=stores.HTTPStore(f"https://u:{SECRET}@host.org/a?sig={SECRET}"),
                stores=[Store(protocol="https", bucket="host.org", path="a")],
                secrets=[SECRET],
            ),
            Example(
                name="memory",
                obj=memory,
                stores=[Store(protocol="memory", path=f"{id(memory):x}")],
            ),
        ]


class TestIcechunkFinder(SourceFinderTests):
    directory: Path

    def make_finder(self) -> SourceFinder:
        """Make the finder."""
        return IcechunkFinder()

    def make_examples(self) -> list[Example]:
        """Make what it knows."""
        icechunk = pytest.importorskip("icechunk")
        config = icechunk.RepositoryConfig.default()
        virtual = icechunk.s3_store(region="us-east-1", endpoint_url=ENDPOINT, allow_http=True)
        config.set_virtual_chunk_container(
            icechunk.VirtualChunkContainer("s3://elsewhere/", virtual)
        )
        credentials = icechunk.s3_static_credentials(access_key_id="k", secret_access_key=SECRET)
        allowed = icechunk.containers_credentials({"s3://elsewhere/": credentials})
        storage = icechunk.local_filesystem_storage(str(self.directory / "repository"))
        repository = icechunk.Repository.open_or_create(
            storage, config, authorize_virtual_chunk_access=allowed
        )
        elsewhere = self.directory / "plain"
        plain = icechunk.Repository.open_or_create(
            icechunk.local_filesystem_storage(str(elsewhere))
        )
        place = Store.at("file", str(self.directory / "repository"))
        store = repository.readonly_session("main").store
        return [
            Example(
                name="array",
                obj=zarr_array(store),
                stores=[place / "tp", s3_store("elsewhere")],
                secrets=[SECRET],
            ),
            Example(
                name="session",
                obj=repository.readonly_session("main"),
                stores=[place, s3_store("elsewhere")],
                secrets=[SECRET],
            ),
            Example(
                name="without virtual chunks",
                obj=zarr_array(plain.readonly_session("main").store),
                stores=[Store.at("file", str(elsewhere)) / "tp"],
                array_nbytes=32,
            ),
        ]


REFERENCES = {
    ".zgroup": '{"zarr_format": 2}',
    "tp/.zarray": "{}",
    "tp/0.0": ["s3://here/2020/a.nc", 0, 100],
    "tp/1.0": ["s3://here/2021/b.nc", 0, 100],
    "tp/2.0": ["s3://there/c.nc", 5, 300],
    "tp/3.0": ["s3://there/c.nc", 305, 300],
    "tp2/0": ["s3://here/2020/a.nc", 0, 7],
    "x/0": "inline",
}


class TestKerchunkFinder(SourceFinderTests):
    directory: Path

    def make_finder(self) -> SourceFinder:
        """Make the finder."""
        return KerchunkFinder()

    def make_examples(self) -> list[Example]:
        """Make what it knows."""
        fs = fsspec.filesystem("reference", fo=REFERENCES, fs=s3(), skip_instance_cache=True)
        return [
            Example(
                name="mapping",
                obj=fs.get_mapper(""),
                stores=[s3_store("here"), s3_store("there/c.nc")],
                stored_nbytes=807,
                secrets=[SECRET],
            ),
            Example(
                name="array in two buckets",
                obj=zarr_array(FsspecStore(s3_references(), path="/")),
                stores=[s3_store("here"), s3_store("there/c.nc")],
                array_nbytes=32,
                stored_nbytes=800,
                secrets=[SECRET],
            ),
            Example(
                name="array in one file",
                obj=zarr_array(FsspecStore(s3_references(), path="/"), "tp2"),
                stores=[s3_store("here/2020/a.nc")],
                array_nbytes=32,
                stored_nbytes=7,
            ),
            Example(
                name="parquet",
                obj=zarr_array(FsspecStore(self.lazy(), path="/")),
                stores=[s3_store("here"), s3_store("there/c.nc")],
                array_nbytes=32,
                stored_nbytes=800,
            ),
        ]

    def lazy(self) -> Any:
        """Make references in parquet of four chunks, in two files."""
        pytest.importorskip("fastparquet")
        import pandas as pd

        root = self.directory / "references"
        if not root.exists():
            (root / "tp").mkdir(parents=True)
            metadata = {"tp/.zarray": {"shape": [4], "chunks": [1]}, ".zgroup": {}}
            (root / ".zmetadata").write_text(
                str({"metadata": metadata, "record_size": 2}).replace("'", '"')
            )
            rows = [REFERENCES[f"tp/{n}.0"] for n in range(4)]
            for record in range(2):
                columns = zip(*rows[2 * record : 2 * record + 2], strict=True)
                frame = pd.DataFrame(dict(zip(("path", "offset", "size"), columns, strict=True)))
                frame.to_parquet(root / "tp" / f"refs.{record}.parq", engine="pyarrow")
        return fsspec.filesystem(
            "reference", fo=str(root), fs=s3(asynchronous=True), asynchronous=True, lazy=True
        )


def s3_references() -> Any:
    """Make a filesystem of references that zarr takes."""
    return fsspec.filesystem(
        "reference", fo=REFERENCES, fs=s3(asynchronous=True), asynchronous=True
    )


class TestVirtualizarrFinder(SourceFinderTests):
    def make_finder(self) -> SourceFinder:
        """Make the finder."""
        return VirtualizarrFinder()

    def make_examples(self) -> list[Example]:
        """Make what it knows."""
        manifests = pytest.importorskip("virtualizarr.manifests")
        from obspec_utils.registry import ObjectStoreRegistry
        from obstore.store import S3Store

        rows = [REFERENCES[f"tp/{n}.0"] for n in range(4)]
        paths, offsets, lengths = (list(column) for column in zip(*rows, strict=True))
        manifest = manifests.ChunkManifest.from_arrays(
            paths=np.array(paths, dtype=np.dtypes.StringDType()),
            offsets=np.array(offsets, dtype="uint64"),
            lengths=np.array(lengths, dtype="uint64"),
        )
        metadata = zarr.create_array(MemoryStore(), shape=(4,), chunks=(1,), dtype="f8").metadata
        array = manifests.ManifestArray(metadata=metadata, chunkmanifest=manifest)
        registry = ObjectStoreRegistry(
            {
                f"s3://{bucket}": S3Store(
                    bucket, endpoint=ENDPOINT, access_key_id="k", secret_access_key=SECRET
                )
                for bucket in ("here", "there")
            }
        )
        store = manifests.ManifestStore(
            manifests.ManifestGroup(arrays={"tp": array}), registry=registry
        )
        expected = [s3_store("here"), s3_store("there/c.nc")]
        return [
            Example(name="store", obj=store, stores=expected, stored_nbytes=800, secrets=[SECRET]),
            Example(
                name="array",
                obj=zarr_array(store),
                stores=expected,
                array_nbytes=32,
                stored_nbytes=800,
                secrets=[SECRET],
            ),
        ]


class TestNetcdfFinder(SourceFinderTests):
    directory: Path

    def make_finder(self) -> SourceFinder:
        """Make the finder."""
        return NetcdfFinder()

    def make_examples(self) -> list[Example]:
        """Make what it knows."""
        dataset = xr.Dataset({"tp": ("x", np.ones(10)), "tp2": ("x", np.ones(20)[::2])})
        examples = []
        for engine in ("scipy", "h5netcdf", "netcdf4"):
            if engine != "scipy":
                pytest.importorskip(engine.replace("netcdf4", "netCDF4"))
            path = self.directory / f"{engine}.nc"
            if not path.exists():
                dataset.to_netcdf(path, engine=engine)
            opened = xr.open_dataset(path, engine=engine, cache=False)
            examples.append(
                Example(
                    name=engine,
                    obj=backend_array(opened["tp"].variable._data),
                    stores=[Store.at("file", str(path)) / "tp"],
                    array_nbytes=80,
                    stored_nbytes=None if engine == "netcdf4" else 80,
                )
            )
            self.opened = [*getattr(self, "opened", []), opened]
        return examples

    @pytest.fixture(autouse=True)
    def close(self) -> Any:
        """Close what a test opened."""
        yield
        for each in getattr(self, "opened", []):
            each.close()


def backend_array(data: Any) -> Any:
    """Take off xarray's adapters."""
    while not isinstance(data, BackendArray):
        data = data.array
    return data


class TestHdf5Finder(SourceFinderTests):
    directory: Path

    def make_finder(self) -> SourceFinder:
        """Make the finder."""
        return Hdf5Finder()

    @pytest.fixture
    def examples(self) -> Any:
        """Make what it knows."""
        h5py = pytest.importorskip("h5py")
        netcdf4 = pytest.importorskip("netCDF4")
        path = self.directory / "a.h5"
        with h5py.File(path, "w") as file:
            file["group/tp"] = np.ones(10)
        netcdf = self.directory / "a.nc"
        xr.Dataset({"tp": ("x", np.ones(10))}).to_netcdf(netcdf, engine="netcdf4")
        place, other = (Store.at("file", str(each)) for each in (path, netcdf))
        held = io.BytesIO(path.read_bytes())
        with (
            h5py.File(path) as file,
            h5py.File(held) as inside,
            netcdf4.Dataset(netcdf) as dataset,
        ):
            unknown = inside["group/tp"]
            yield [
                Example(
                    name="dataset",
                    obj=file["group/tp"],
                    stores=[place / "group/tp"],
                    array_nbytes=80,
                    stored_nbytes=80,
                ),
                Example(name="file", obj=file, stores=[place]),
                Example(name="on a Python file", obj=unknown, stores=[unknown_store(unknown)]),
                Example(name="netCDF4", obj=dataset["tp"], stores=[other / "tp"]),
            ]


def unknown_store(obj: object) -> Store:
    """Make the store that stands for an object's unknown place."""
    kind = type(obj)
    name = f"{kind.__module__}.{kind.__qualname__}"
    return Store(protocol="unknown", bucket=name, path=f"{id(obj):x}")


class TestRasterFinder(SourceFinderTests):
    directory: Path

    def make_finder(self) -> SourceFinder:
        """Make the finder."""
        return RasterFinder()

    @pytest.fixture
    def examples(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Make what it knows."""
        rasterio = pytest.importorskip("rasterio")
        from xarray.backends.file_manager import CachingFileManager

        monkeypatch.setenv("AWS_S3_ENDPOINT", "127.0.0.1:9")
        monkeypatch.setenv("AWS_HTTPS", "NO")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        managers = {
            "/vsis3/bucket/a.tif": s3_store("bucket/a.tif"),
            "s3://bucket/a.tif": s3_store("bucket/a.tif"),
            f"/vsicurl/https://host.org/a.tif?sig={SECRET}": Store.from_url(
                "https://host.org/a.tif"
            ),
            str(self.directory / "a.tif"): Store.at("file", str(self.directory / "a.tif")),
        }
        return [
            Example(
                name=name,
                obj=CachingFileManager(rasterio.open, name),
                stores=[store],
                secrets=[SECRET],
            )
            for name, store in managers.items()
        ]


class TestDataFrameFinder(SourceFinderTests):
    directory: Path

    def make_finder(self) -> SourceFinder:
        """Make the finder."""
        return DataFrameFinder()

    def make_examples(self) -> list[Example]:
        """Make what it knows."""
        dd = pytest.importorskip("dask.dataframe")
        import pandas as pd
        import pyarrow.dataset

        path = self.directory / "year=2020" / "part.0.parquet"
        if not path.exists():
            path.parent.mkdir()
            pd.DataFrame({"tp": np.arange(10)}).to_parquet(path)
        place = Store.at("file", str(path))
        nbytes = path.stat().st_size
        tasks = {
            filesystem: next(
                iter(
                    dd.read_parquet(path, filesystem=filesystem)
                    .optimize(fuse=False)
                    .__dask_graph__()
                    .values()
                )
            )
            for filesystem in ("fsspec", "arrow")
        }
        assert isinstance(tasks["fsspec"], Task)
        return [
            Example(name="fsspec", obj=tasks["fsspec"], stores=[place], stored_nbytes=nbytes),
            Example(
                name="fragment",
                obj=next(iter(pyarrow.dataset.dataset(path).get_fragments())),
                stores=[place],
            ),
            Example(
                name="arrow",
                obj=fragment_wrapper(tasks["arrow"]),
                stores=[place],
                stored_nbytes=nbytes,
            ),
        ]


def fragment_wrapper(task: Any) -> Any:
    """Take the piece out of the task that reads it."""
    held = (*task.args, *task.kwargs.values())
    inner = [each for each in held if isinstance(each, Task)]
    if inner:
        return fragment_wrapper(inner[0])
    return next(each for each in held if type(each).__name__ == "FragmentWrapper")


class TestFutureFinder(SourceFinderTests):
    def make_finder(self) -> SourceFinder:
        """Make the finder."""
        return FutureFinder()

    def make_examples(self) -> list[Example]:
        """Make what it knows."""
        # A cluster's memory is not storage: `find_clusters` tells of it.
        return [Example(name="Future", obj=future_at("tcp://10.0.0.1:8786"), stores=[])]


def future_at(address: str) -> Any:
    """Make what looks like a Future of a cluster; making a real one needs the cluster."""
    # Futures are references to their own keys.
    future: Any = type("Future", (TaskRef,), {"__module__": "distributed.client"})(address)
    future.client = SimpleNamespace(scheduler=SimpleNamespace(address=address))
    return future


class TestXarrayFinder(SourceFinderTests):
    directory: Path

    def make_finder(self) -> SourceFinder:
        """Make the finder."""
        return XarrayFinder()

    def make_examples(self) -> list[Example]:
        """Make what it knows."""
        from xarray.backends.file_manager import CachingFileManager

        path = self.directory / "a.zarr"
        dataset = xr.Dataset({"tp": ("x", np.ones(4))})
        dataset.to_zarr(path, zarr_format=2, mode="w")
        opened = xr.open_zarr(path, chunks=None)
        url = f"https://host.org/a.nc?sig={SECRET}"
        return [
            Example(
                name="dataset",
                obj=opened,
                stores=[Store.at("file", str(path)) / "tp"],
                array_nbytes=32,
            ),
            Example(
                name="array",
                obj=opened.tp,
                stores=[Store.at("file", str(path)) / "tp"],
                array_nbytes=32,
            ),
            Example(
                name="manager",
                obj=CachingFileManager(open, url),
                stores=[Store(protocol="https", bucket="host.org", path="a.nc")],
                secrets=[SECRET],
            ),
        ]


class Reader:
    """A file of a library that nobody knows."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def read(self, size: int = -1) -> bytes:
        """Read nothing."""
        return b""

    def seek(self, offset: int) -> int:
        """Go nowhere."""
        return offset

    def tell(self) -> int:
        """Be at the start."""
        return 0


class Indexable:
    """An array of a library that nobody knows, as dask.array.from_array takes it."""

    shape = (4,)
    dtype = np.dtype("f8")
    ndim = 1

    def __init__(self, inside: object = None) -> None:
        self.inside = inside

    def __getitem__(self, key: Any) -> Any:
        raise AssertionError("a finder reads")


class Slotted:
    """The same, without a dictionary."""

    __slots__ = ("dtype", "shape")

    def __init__(self) -> None:
        self.shape, self.dtype = (4,), np.dtype("f8")

    def __getitem__(self, key: Any) -> Any:
        raise AssertionError("a finder reads")


class Backend(BackendArray):
    """An array of a backend of xarray that nobody knows."""

    def __init__(self) -> None:
        self.shape, self.dtype = (4,), np.dtype("f8")

    def __getitem__(self, key: Any) -> Any:
        raise AssertionError("a finder reads")


class TestUnknownFinder(SourceFinderTests):
    def make_finder(self) -> SourceFinder:
        """Make the finder."""
        return UnknownFinder()

    def make_examples(self) -> list[Example]:
        """Make what it knows."""
        readers = [Reader(SECRET), Indexable(), Slotted(), Backend()]
        mapping = s3().get_mapper("bucket/a")
        return [
            *(
                Example(
                    name=type(each).__name__,
                    obj=each,
                    stores=[unknown_store(each)],
                    secrets=[SECRET],
                )
                for each in readers
            ),
            Example(
                name="around something known",
                obj=Indexable(mapping),
                stores=[s3_store("bucket/a")],
                secrets=[SECRET],
            ),
        ]

    def make_foreign_objects(self) -> list[object]:
        """Make what it must not know: sparse arrays can be indexed, and are data."""
        sparse = pytest.importorskip("scipy.sparse")
        return [
            *super().make_foreign_objects(),
            sparse.csr_array(np.eye(3)),
            sparse.coo_array((2, 2)),
        ]
