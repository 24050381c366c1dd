import pickle
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import intake
import numpy as np
import pytest
import s3fs
import xarray as xr
import yaml
from moto.server import ThreadedMotoServer

from xr_locality.catalog.drivers import LocalitySource
from xr_locality.errors import ConfigurationError, RegionError
from xr_locality.regions import REGISTRY, Chain, Region, Store
from xr_locality.sources import find_sources

WEST, IOWA = Region.parse("aws:us-west-2"), Region.parse("gcp:us-central1")
DRIVER = ["xarray_locality", "zarr"]


@pytest.fixture(autouse=True)
def clean_state() -> Iterator[None]:
    """Leave no tag to the next test, and let Intake's own deprecations be."""
    REGISTRY.clear()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="intake")
        yield
    REGISTRY.clear()


@pytest.fixture(scope="module")
def s3() -> Iterator[Mapping[Region, dict[str, Any]]]:
    """Start an object server for each of two regions; both have a bucket named "entries"."""
    servers = [ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False) for _ in range(2)]
    options: dict[Region, dict[str, Any]] = {}
    for region, server in zip((WEST, IOWA), servers, strict=True):
        server.start()
        host, port = server.get_host_and_port()
        options[region] = {"key": "k", "secret": "hush", "endpoint_url": f"http://{host}:{port}"}
    s3fs.S3FileSystem(**options[WEST]).mkdir("entries")
    for region, storage_options in options.items():
        dataset(float(len(str(region)))).to_zarr(
            f"s3://entries/{region.name}.zarr", zarr_format=2, storage_options=storage_options
        )
    yield options
    for server in servers:
        server.stop()


def dataset(value: float = 1.0) -> xr.Dataset:
    """Make a dataset in three chunks."""
    return xr.Dataset({"tp": (("time", "x"), np.full((6, 4), value))}).chunk(time=2)


@pytest.fixture
def open_catalog(tmp_path: Path) -> Callable[..., Any]:
    """Write a catalog and open it with Intake."""

    def open_catalog(
        sources: Mapping[str, Any], metadata: Mapping[str, Any] | None = None, name: str = "c"
    ) -> Any:
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"metadata": metadata or {}, "sources": dict(sources)}))
        return intake.open_catalog(str(path))

    return open_catalog


@pytest.fixture
def local(tmp_path: Path) -> str:
    """Write a dataset to disk."""
    dataset().to_zarr(tmp_path / "a.zarr", zarr_format=2)
    return str(tmp_path / "a.zarr")


def entry(urlpath: Any, region: Any = None, **args: Any) -> dict[str, Any]:
    """Make a catalog's entry."""
    metadata = {} if region is None else {"locality": {"region": region}}
    return {"driver": DRIVER, "args": {"urlpath": urlpath, **args}, "metadata": metadata}


def regions(opened: xr.Dataset) -> set[str]:
    """Detect the regions that a dataset reads from, through its graph alone."""
    layers = opened.__dask_graph__().layers.values()
    found = find_sources([vars(layer) for layer in layers])
    assert found
    return {str(getattr(Chain().detect(each.store), "region", None)) for each in found}


def test_two_regions(s3: Mapping[Region, dict[str, Any]], open_catalog: Callable[..., Any]) -> None:
    """Two entries in two regions keep their regions through arithmetic, and give right values."""
    cat = open_catalog(
        {
            "era5": entry("s3://entries/us-central1.zarr", str(IOWA), storage_options=s3[IOWA]),
            "lens": entry("s3://entries/us-west-2.zarr", "AWS us-west-2", storage_options=s3[WEST]),
        }
    )
    assert (cat.era5.region, cat.lens.region) == (IOWA, WEST)
    era5, lens = cat.era5.to_dask(), cat.lens.to_dask()
    assert regions(era5) == {"gcp:us-central1"}
    assert regions(lens) == {"aws:us-west-2"}
    difference = era5.mean("time") - lens.mean("time")
    assert regions(difference) == {"gcp:us-central1", "aws:us-west-2"}
    assert (difference.tp == len(str(IOWA)) - len(str(WEST))).all()
    tag = REGISTRY.find(Store.from_url("s3://entries/us-west-2.zarr/tp/0.0", s3[WEST]))
    assert tag is not None
    assert tag.evidence == "catalog 'c', entry 'lens'"
    assert REGISTRY.find(Store.from_url("s3://entries/us-west-2.zarr", s3[IOWA])) is None


def test_region_without_opening(open_catalog: Callable[..., Any]) -> None:
    """The region is known of data that are not there, and no tag is left for them."""
    source = open_catalog({"gone": entry("s3://gone/a.zarr", "us-west-2")}).gone
    assert source.region == WEST
    assert REGISTRY.find(Store.from_url("s3://gone/a.zarr")) is None


def test_entry_without_region(local: str, open_catalog: Callable[..., Any]) -> None:
    """An entry without a tag opens as ever, and its region is for others to know."""
    source = open_catalog({"a": entry(local)}).a
    assert source.region is None
    assert regions(source.to_dask()) == {"local"}


@pytest.mark.parametrize("region", ["aws:us-wset-2", "", 5])
def test_malformed_region_is_raised_before_opening(
    region: object, open_catalog: Callable[..., Any]
) -> None:
    """A malformed region names catalog and entry, and nothing is opened."""
    source = open_catalog({"lens": entry("s3://gone/a.zarr", region)}).lens
    for ask in (lambda: source.region, source.to_dask, source.read, source.discover):
        with pytest.raises(RegionError, match="catalog 'c', entry 'lens'"):
            ask()
    assert "malformed region" in repr(source)


def test_other_entries_are_not_harmed(local: str, open_catalog: Callable[..., Any]) -> None:
    """An entry with a malformed region does not keep others from opening."""
    cat = open_catalog({"bad": entry(local, "moon"), "good": entry(local, "us-west-2")})
    assert sorted(cat) == ["bad", "good"]
    assert regions(cat.good.to_dask()) == {"aws:us-west-2"}


def test_unknown_key_is_raised(open_catalog: Callable[..., Any]) -> None:
    """A misspelt key of a tag names the entry and the key that was meant."""
    source = entry("s3://gone/a.zarr")
    source["metadata"] = {"locality": {"region": "us-west-2", "requesterpays": True}}
    with pytest.raises(ConfigurationError, match=r"entry 'a'.*'requester_pays'"):
        open_catalog({"a": source}).a.to_dask()


def test_catalog_metadata_is_inherited(local: str, open_catalog: Callable[..., Any]) -> None:
    """An entry is where its catalog is, unless it says otherwise."""
    metadata = {"version": 1, "locality": {"region": "aws:us-west-2", "leaves": "never"}}
    cat = open_catalog({"a": entry(local), "b": entry(local, "gcp:us-central1")}, metadata)
    assert cat.a.tag.evidence == "catalog 'c'"
    assert (cat.a.region, cat.a.tag.leaves) == (WEST, "never")
    assert (cat.b.region, cat.b.tag.leaves) == (IOWA, "never")
    assert cat.b.tag.evidence == "catalog 'c', entry 'b'"


def test_nested_catalogs_are_inherited(local: str, open_catalog: Callable[..., Any]) -> None:
    """A catalog in a catalog inherits from it."""
    inner = open_catalog({"a": entry(local)}, name="inner")
    nested = {"driver": "yaml_file_cat", "args": {"path": inner.path}, "metadata": {}}
    outer = open_catalog({"inner": nested}, {"locality": {"region": "us-west-2"}}, name="outer")
    assert outer.inner.a.region == WEST
    assert outer.inner.a.tag.evidence == "catalog 'outer'"


def test_bare_region_is_a_hint(local: str, open_catalog: Callable[..., Any]) -> None:
    """A bare region of a cloud counts; what the data say of themselves does not."""
    source = entry(local)
    source["metadata"] = {"region": "us-west-2", "provider": "aws"}
    assert open_catalog({"a": source}).a.region == WEST


def test_metadata_found_in_the_data_is_no_tag(tmp_path: Path, open_catalog: Any) -> None:
    """After looking into the data, attributes of theirs are not taken for tags."""
    found = dataset().assign_attrs(region="us-east-1", locality={"region": "us-east-1"})
    found.to_zarr(tmp_path / "attrs.zarr", zarr_format=2)
    source = open_catalog({"a": entry(str(tmp_path / "attrs.zarr"))}).a
    assert source.discover()["metadata"]["dims"] == {"time": 6, "x": 4}
    assert source.region is None


def test_parameters_in_the_url(tmp_path: Path, open_catalog: Callable[..., Any]) -> None:
    """A parameter chooses the store, and each store is tagged by itself."""
    for model in ("one", "two"):
        dataset().to_zarr(tmp_path / f"{model}.zarr", zarr_format=2)
    source = entry(f"{tmp_path}/{{{{ model }}}}.zarr", "us-west-2")
    source["parameters"] = {
        "model": {
            "description": "a model",
            "type": "str",
            "default": "one",
            "allowed": ["one", "two"],
        }
    }
    cat = open_catalog({"a": source})
    assert regions(cat.a(model="two").to_dask()) == {"aws:us-west-2"}
    assert REGISTRY.find(Store.from_url(str(tmp_path / "two.zarr"))) is not None
    assert REGISTRY.find(Store.from_url(str(tmp_path / "one.zarr"))) is None
    with pytest.raises(ValueError, match="allowed"):
        cat.a(model="three")


def test_catalog_directory(local: str, open_catalog: Callable[..., Any]) -> None:
    """A path relative to the catalog is found, and the store is the one that is read."""
    source = open_catalog({"a": entry("{{ CATALOG_DIR }}/a.zarr", "us-west-2")}).a
    assert regions(source.to_dask()) == {"aws:us-west-2"}


def test_arguments_reach_xarray(local: str, open_catalog: Callable[..., Any]) -> None:
    """Chunks are the store's unless asked otherwise, in the catalog or at the call."""
    cat = open_catalog(
        {"a": entry(local, consolidated=True), "b": entry(local, chunks={"time": 4})}
    )
    assert cat.a.to_dask().tp.chunks == ((2, 2, 2), (4,))
    assert cat.b.to_dask().tp.chunks == ((4, 2), (4,))
    assert cat.a(chunks={"time": 6}).to_dask().tp.chunks == ((6,), (4,))
    assert cat.a(chunks=None).to_dask().tp.chunks is None


def test_several_stores(tmp_path: Path, open_catalog: Callable[..., Any]) -> None:
    """A list of URLs, or a glob, is one dataset, and all its stores are tagged."""
    for n in range(2):
        dataset().assign_coords(time=np.arange(6) + 6 * n).to_zarr(
            tmp_path / f"{n}.zarr", zarr_format=2
        )
    paths = [str(tmp_path / f"{n}.zarr") for n in range(2)]
    cat = open_catalog(
        {
            "list": entry(paths, "us-west-2"),
            "glob": entry(str(tmp_path / "*.zarr"), "gcp:us-central1"),
        }
    )
    assert cat.list.to_dask().sizes["time"] == 12
    assert regions(cat.list.to_dask()) == {"aws:us-west-2"}
    REGISTRY.clear()
    assert cat.glob.to_dask().sizes["time"] == 12
    assert regions(cat.glob.to_dask()) == {"gcp:us-central1"}


def test_read_and_close(local: str, open_catalog: Callable[..., Any]) -> None:
    """Reading loads the data; the lazy dataset stays lazy; a closed source opens again."""
    source = open_catalog({"a": entry(local, "us-west-2")}).a
    assert source.read().tp.chunks is None
    lazy = source.to_dask()
    assert lazy.tp.chunks is not None
    assert source.to_dask() is lazy
    source.close()
    source.close()
    assert source.to_dask() is not lazy


def test_tag_is_set_again_when_forgotten(local: str, open_catalog: Callable[..., Any]) -> None:
    """Asking for the data again says again where they are."""
    source = open_catalog({"a": entry(local, "us-west-2")}).a
    source.to_dask()
    REGISTRY.clear()
    assert regions(source.to_dask()) == {"aws:us-west-2"}


def test_description(local: str, open_catalog: Callable[..., Any]) -> None:
    """The entry describes itself as any other of Intake's."""
    cat = open_catalog({"a": entry(local, "us-west-2")})
    described = cat.a.describe()
    assert described["container"] == "xarray"
    assert described["driver"][0] == "xarray_locality"
    assert described["metadata"]["locality"] == {"region": "us-west-2"}


@pytest.mark.parametrize("wrapped", ["", "simplecache::"])
def test_credentials_in_a_buckets_url_are_refused(
    wrapped: str, open_catalog: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Filesystems would log and show them as a part of the bucket's name: nothing is opened."""
    caplog.set_level("DEBUG")
    url = f"{wrapped}s3://AKIA:hush@bucket/a.zarr"
    entry = {
        "driver": DRIVER,
        "args": {"urlpath": url},
        "metadata": {"locality": {"region": str(WEST)}},
    }
    source = open_catalog({"a": entry}).a
    with pytest.raises(ConfigurationError, match="entry 'a' holds a key and a secret") as caught:
        source.to_dask()
    assert "hush" not in str(caught.value) + repr(source) + caplog.text


def test_repr_has_no_secret(open_catalog: Callable[..., Any]) -> None:
    """The repr shows where the data are, and no credentials."""
    options = {"key": "k", "secret": "hush"}
    url = "https://me:hush@host.org/a.zarr?sig=hush"
    source = open_catalog({"a": entry(url, "us-west-2", storage_options=options)}).a
    assert repr(source) == "<LocalitySource 'a': https://host.org/a.zarr in aws:us-west-2>"


def test_source_without_a_catalog(local: str) -> None:
    """A source made by hand works, keeps its tag through pickling, and names itself in errors."""
    source = LocalitySource(local, metadata={"locality": {"region": "us-west-2"}})
    again = pickle.loads(pickle.dumps(source))
    assert (source.region, again.region) == (WEST, WEST)
    assert regions(again.to_dask()) == {"aws:us-west-2"}
    with pytest.raises(RegionError, match=r"a\.zarr"):
        LocalitySource(local, metadata={"locality": {"region": "moon"}}).to_dask()


def test_driver_is_found_by_name() -> None:
    """Intake finds the driver through its entry point."""
    assert intake.source.get_plugin_class("xarray_locality") is LocalitySource


def test_catalog_opens_without_this_package(local: str, tmp_path: Path) -> None:
    """Where the package is absent, Intake's own driver opens the same entry."""
    catalog = tmp_path / "c.yaml"
    sources = {"a": entry(local, "us-west-2", consolidated=True, chunks={})}
    metadata = {"version": 1, "locality": {"region": "aws:us-west-2"}}
    catalog.write_text(yaml.safe_dump({"metadata": metadata, "sources": sources}))
    script = f"""
        import importlib.metadata, sys
        sys.modules["xr_locality"] = None
        everything = importlib.metadata.distributions
        importlib.metadata.distributions = lambda **kwargs: (
            each for each in everything(**kwargs) if each.name != "xr-locality"
        )
        import intake
        source = intake.open_catalog({str(catalog)!r}).a
        assert type(source).__module__ == "intake_xarray.xzarr", type(source)
        print(float(source.to_dask().tp.sum()))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "24.0"
