"""Entries in the shapes that public catalogs have: Pangeo, EUREC4A, HyTEST, mc-goods."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

import xr_locality as xl
from xr_locality.catalog import learn
from xr_locality.catalog.formats import FORMATS, Opening
from xr_locality.catalog.open_entry import OpenEntry
from xr_locality.errors import ConfigurationError, LocalityWarning
from xr_locality.regions import REGISTRY

CATALOG = """
metadata: {locality: {region: aws:us-west-2}}
sources:
  pangeo:
    driver: zarr
    args: {urlpath: 'gs://pangeo-cmems-duacs', consolidated: true}
    metadata: {locality: {region: gcp:us-central1}}
  eurec4a:
    driver: opendap
    args:
      auth: null
      chunks: null
      urlpath: https://observations.ipsl.fr/thredds/dodsC/EUREC4A/PRODUCTS/merged.nc
  hytest:
    driver: intake_xarray.xzarr.ZarrSource
    args:
      consolidated: true
      storage_options:
        anon: true
        client_kwargs: {endpoint_url: 'https://usgs.osn.mghpcc.org/'}
      urlpath: s3://hytest/conus404/daily.zarr
  goods:
    driver: zarr
    args:
      consolidated: false
      storage_options:
        fo: s3://esip-qhub-public/noaa/nwm/combined.json
        remote_protocol: s3
        remote_options: {anon: true}
      urlpath: 'reference://'
  years:
    driver: netcdf
    args: {urlpath: 's3://goods/oisst/v2/sst.{year:d}.nc'}
"""


@pytest.fixture(autouse=True)
def clean_state() -> Iterator[None]:
    """Leave no tag to the next test."""
    REGISTRY.clear()
    yield
    REGISTRY.clear()


def opening(url: str, storage_options: dict[str, Any] | None = None, **options: Any) -> Opening:
    """Make what an entry of these arguments opens."""
    return Opening(urls=(url,), storage_options=storage_options or {}, options=options)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """Record what xarray is asked to open, in place of opening it."""
    calls: list[tuple[Any, dict[str, Any]]] = []

    def open_dataset(url: Any, **options: Any) -> xr.Dataset:
        calls.append((url, options))
        return xr.Dataset({"t": ("x", np.ones(2))})

    monkeypatch.setattr(xr, "open_dataset", open_dataset)
    return calls


def test_learned() -> None:
    """Each entry is learned, up to a pattern in its URL, or says why not."""
    learned = learn(yaml.safe_load(CATALOG))
    assert learned.learned == ("pangeo", "eurec4a", "hytest", "years")
    assert list(learned.problems) == ["goods"]
    assert "set of references" in learned.problems["goods"]
    assert learned.rules["gs://pangeo-cmems-duacs"] == "gcp:us-central1"
    assert not [rule for rule in learned.rules if "{" in rule]


def test_names_of_files_of_second_version(tmp_path: Path) -> None:
    """What is learned from a catalog of version 2 names its file as evidence."""
    file = tmp_path / "found.yaml"
    kwargs = {"url": "s3://b/a.zarr"}
    data = {"lens": {"datatype": "x", "kwargs": kwargs, "metadata": {"region": "us-west-2"}}}
    catalog = {"version": 2, "data": data, "entries": {}, "aliases": {}, "name": None}
    file.write_text(yaml.safe_dump(catalog))
    learn(file)
    tag = REGISTRY.find(xl.regions.Store.from_url("s3://b/a.zarr"))
    assert tag is not None
    assert "'found.yaml'" in tag.evidence


@pytest.mark.parametrize("kind", ["xarray", "netcdf"])
def test_opendap(kind: str, opened: list[tuple[Any, dict[str, Any]]]) -> None:
    """URLs of an OPeNDAP server are opened as such, not as files."""
    url = "https://example.org/thredds/dodsC/a.nc"
    FORMATS[kind].open(opening(url, auth=None, chunks={"x": 1}))
    assert opened == [(url, {"engine": "netcdf4", "chunks": {"x": 1}})]


def test_opendap_with_a_password() -> None:
    """A password in an entry is refused, with where it belongs."""
    with pytest.raises(ConfigurationError, match="netrc"):
        FORMATS["netcdf"].open(opening("https://example.org/dodsC/a.nc", auth=("me", "secret")))


def test_xarray_kwargs(opened: list[tuple[Any, dict[str, Any]]]) -> None:
    """Arguments for xarray may stand under `xarray_kwargs`, as intake-xarray takes them."""
    given = {"decode_times": False, "chunks": {"x": 2}}
    FORMATS["xarray"].open(opening("s3://b/a.zarr", xarray_kwargs=given))
    assert opened == [("s3://b/a.zarr", {"engine": "zarr", **given})]


def test_references_of_the_zarr_driver(opened: list[tuple[Any, dict[str, Any]]]) -> None:
    """`reference://` with `fo` among the storage options is a set of references."""
    options = {"fo": "s3://b/a.json", "remote_protocol": "s3"}
    FORMATS["xarray"].open(opening("reference://", options, engine="zarr"))
    ((url, given),) = opened
    assert url == "reference://"
    assert given["backend_kwargs"]["storage_options"] == {
        **options,
        "remote_options": {"asynchronous": True},
    }


class TestEager:
    def test_tagged_by_hand(self) -> None:
        """Data without chunks of another region are warned of, with what to write."""
        eager = xr.Dataset({"t": ("x", np.ones(2))})
        with pytest.warns(LocalityWarning, match=r"chunks=\{\}"):
            xl.tag(eager, "aws:us-west-2")

    def test_opened_without_chunks(self, tmp_path: Path) -> None:
        """So are data that xarray has opened and not read, which it reads when they are used."""
        path = tmp_path / "a.zarr"
        xr.Dataset({"t": ("x", np.ones(2))}).to_zarr(path, zarr_format=2)
        with pytest.warns(LocalityWarning, match=r"chunks=\{\}"):
            xl.tag(xr.open_dataset(path, engine="zarr"), "aws:us-west-2")

    def test_from_a_catalog(self, tmp_path: Path) -> None:
        """So are those of an entry that is opened without chunks."""
        path = str(tmp_path / "a.zarr")
        xr.Dataset({"t": ("x", np.ones(2))}).to_zarr(path, zarr_format=2)
        level = xl.catalog.entry_tags.Level(metadata={"region": "us-west-2"}, where="entry 'a'")
        entry = OpenEntry(kind="xarray", opening=opening(path, chunks=None), levels=lambda: [level])
        with pytest.warns(LocalityWarning, match="us-west-2"):
            entry.open()

    def test_nothing_to_warn_of(self) -> None:
        """Lazy data, data of this machine and what has no variables are no reason."""
        eager = xr.Dataset({"t": ("x", np.ones(2))})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            xl.tag(eager.chunk(), "aws:us-west-2")
            xl.tag(eager, "local")
            xl.tag(xr.Dataset(), "aws:us-west-2")
            with xl.Session(client_region="aws:us-west-2"):
                xl.tag(eager, "aws:us-west-2")
