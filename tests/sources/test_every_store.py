"""Whatever a user opens is computed on two real gateways, each half beside its data.

Each way to open data writes one half for either region, in every storage that workers
can reach. What only this process can reach is computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, Final, TypeAlias

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pytest
import xarray as xr

import xr_locality as xl
from support import openers
from support.openers import OPENERS, SHAPE, Opener
from support.places import Place
from xr_locality.regions import LOCAL, Region
from xr_locality.testing import Testbed
from xr_locality.testing.objects import ObjectServer

pytestmark = [
    pytest.mark.gateway,
    pytest.mark.slow,
    # Of what kerchunk uses.
    pytest.mark.filterwarnings("ignore:The 'fastparquet' engine is deprecated"),
]

AWS, GCP = map(Region.parse, ("aws:us-west-2", "gcp:us-central1"))
#: Read in every storage that workers reach; the others in one, to be done in time.
_EVERYWHERE: Final = frozenset(
    {"dataframe-parquet", "kerchunk-json", "netcdf4-with-h5netcdf", "zarr-format-3", "zarr-obstore"}
)
#: Memory, and copies that only this process knows of, are not for workers of elsewhere.
_HERE: Final = [
    pytest.param(opener, protocol, id=f"{name}-{protocol}")
    for name, opener in OPENERS.items()
    for protocol in sorted(opener.protocols)
    if (protocol == "memory" and name in _EVERYWHERE) or (opener.found is None)
]


def _reachable(opener: Opener) -> list[str]:
    """List the storages that an opener is tried in, S3 first."""
    known = sorted(opener.protocols - {"memory"}, key=lambda name: (name != "s3", name))
    return known if opener.name in _EVERYWHERE else known[:1]


_THERE: Final = [
    pytest.param(opener, protocol, id=f"{name}-{protocol}")
    for name, opener in OPENERS.items()
    if opener.found is not None
    for protocol in _reachable(opener)
]
_RAW_NBYTES: Final = SHAPE[0] * SHAPE[1] * 8
#: What one half comes to: an average over the longer axis.
_MEAN_NBYTES: Final = SHAPE[1] * 8

_numbers = count()

Halves: TypeAlias = Mapping[Region, Place]


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    """Start two regions whose workers know what this process knows of the emulators."""
    gdal = tmp_path_factory.mktemp("gdal") / "gdalrc"
    environment = {"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false", "GDAL_CONFIG_FILE": str(gdal)}
    with Testbed(environment=environment) as bed:
        lines = (f"{name}={value}\n" for name, value in _gdal(bed).items())
        gdal.write_text(f"[configoptions]\n{''.join(lines)}")
        yield bed


def _gdal(bed: Testbed) -> dict[str, str]:
    """Tell GDAL where S3 is. A process knows of one alone: Oregon's."""
    return {
        "AWS_S3_ENDPOINT": bed[AWS].objects.endpoint_url.partition("://")[2],
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "AWS_NO_SIGN_REQUEST": "YES",
    }


@pytest.fixture(scope="module")
def session(bed: Testbed) -> Iterator[xl.Session]:
    """Keep a cluster in each region for all tests, and none after them."""
    with xl.Session(bed.endpoints(minimum=1, maximum=1), progress=False) as session:
        yield session
    assert [each.gateway.list_clusters() for each in bed.regions] == [(), ()]


@pytest.fixture
def halves(
    bed: Testbed,
    opener: Opener,
    protocol: str,
    places: Callable[[str], Place],
    monkeypatch: pytest.MonkeyPatch,
) -> Halves:
    """Give a place for each region: on S3 in a service of its own, else beside each other."""
    number = str(next(_numbers))
    if protocol == "s3":
        for name, value in _gdal(bed).items() if opener.name == "geotiff" else ():
            monkeypatch.setenv(name, value)
        services = {region: AWS if opener.name == "geotiff" else region for region in (AWS, GCP)}
        return {
            region: _s3(bed[service].objects, f"{number}/{region.name}")
            for region, service in services.items()
        }
    place = places(protocol).below(number)
    return {region: place.below(region.name) for region in (AWS, GCP)}


def _s3(objects: ObjectServer, path: str) -> Place:
    options = {"key": "k", "secret": "not to be shown", "endpoint_url": objects.endpoint_url}
    return Place(url=objects.url(path), options=options)


@pytest.fixture
def opened(
    opener: Opener, halves: Halves, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Mapping[Region, Any]]:
    """Write different values to the two places, and open them."""
    values, opened = openers.values, {}
    for factor, (region, place) in enumerate(halves.items(), 1):
        with monkeypatch.context() as patch:
            patch.setattr(openers, "values", lambda factor=factor: values() * factor)
            opened[region] = opener.open(place)
    yield opened
    for each in opened.values():
        if hasattr(each, "close"):
            each.close()


def reduced(collection: Any) -> Any:
    """Average over the longer axis of an array, or sum what there is of a table."""
    if isinstance(collection, dd.DataFrame):
        return collection.tp.sum()
    if isinstance(collection, da.Array):
        return collection.mean(axis=0)
    (variable,) = collection.data_vars.values()
    return variable.mean("time" if "time" in variable.dims else "y")


def same(got: Any, expected: Any) -> None:
    """Check that two results are equal to the last bit."""
    if isinstance(expected, xr.DataArray):
        xr.testing.assert_identical(got, expected)
    else:
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("opener", "protocol"), _THERE)
def test_halves_are_computed_beside_their_data(
    bed: Testbed,
    session: xl.Session,
    halves: Halves,
    opened: Mapping[Region, Any],
) -> None:
    """Each half is read in its own region, one average crosses, and the answer is the same."""
    rules = {place.store.url: str(region) for region, place in halves.items()}
    difference = reduced(opened[AWS]) - reduced(opened[GCP])
    expected = dask.compute(difference, scheduler="sync")[0]
    assert np.any(expected != 0)
    # How large a sum of a DataFrame is nobody knows beforehand: reading might seem cheaper.
    policy = {"rules": rules, "remote_read": "never"}
    plan = session.plan(difference, **policy)
    assert {source.region for source in plan.sources} == {AWS, GCP}
    assert plan.regions == (AWS, GCP)
    for each in bed.regions:
        each.objects.clear_requests()
    (got,) = session.compute(difference, **policy)
    same(got, expected)
    moved = dict(session.reports[-1].moved)
    if isinstance(opened[AWS], dd.DataFrame):
        assert moved.keys() == plan.moved.keys()
        assert sum(moved.values()) < _RAW_NBYTES / 10
    else:
        assert moved == dict(plan.moved)
        assert list(moved.values()) == [_MEAN_NBYTES] * 2
    for region, other in ((AWS, GCP), (GCP, AWS)):
        readers = {each.reader for each in bed[region].objects.requests()}
        assert str(other) not in readers


@pytest.mark.parametrize(("opener", "protocol"), _HERE)
def test_what_only_this_process_has_is_computed_here(
    session: xl.Session, opened: Mapping[Region, Any]
) -> None:
    """Data in memory, or in a cache that tells no origin, never leave this machine."""
    difference = reduced(opened[AWS]) - reduced(opened[GCP])
    expected = dask.compute(difference, scheduler="sync")[0]
    (got,) = session.compute(difference, unknown_region="local")
    same(got, expected)
    report = session.reports[-1]
    assert report.plan.regions == (LOCAL,)
    assert report.moved == {}


def test_embedded_arrays_start_here(session: xl.Session, bed: Testbed) -> None:
    """Half of a difference that is in memory goes to where the other half is, counted."""
    values = openers.values()
    region = bed[AWS]
    url = bed.write(xr.Dataset({"tp": (("time", "x"), values)}).chunk(time=10), AWS, "numpy.zarr")
    there = xr.open_zarr(url, storage_options=region.objects.storage_options).tp
    here = xr.DataArray(values * 2, dims=("time", "x")).chunk(time=10)
    difference = there.mean("time") - here.mean("time")
    rules = {url: str(AWS)}
    (got,) = session.compute(difference, rules=rules)
    same(got, difference.compute(scheduler="sync"))
    report = session.reports[-1]
    assert report.plan.regions == (AWS,)
    assert report.moved[AWS, LOCAL] == _MEAN_NBYTES
    assert report.plan.moved[LOCAL, AWS] == _RAW_NBYTES


def test_futures_stay_where_they_are(session: xl.Session, bed: Testbed) -> None:
    """What a region holds already is combined with what another one holds."""
    held = {}
    for factor, region in enumerate((AWS, GCP), 1):
        dataset = xr.Dataset({"tp": (("time", "x"), openers.values() * factor)}).chunk(time=10)
        url = bed.write(dataset, region, "futures.zarr")
        options = bed[region].objects.storage_options
        (held[region],) = session.persist(
            xr.open_zarr(url, storage_options=options).tp,
            rules={url: str(region)},
            remote_read="never",
        )
    for each in bed.regions:
        each.objects.clear_requests()
    difference = held[AWS].mean("time") - held[GCP].mean("time")
    (got,) = session.compute(difference)
    np.testing.assert_array_equal(got, -openers.values().mean(axis=0))
    assert session.reports[-1].plan.regions == (AWS, GCP)
    assert list(session.reports[-1].moved.values()) == [_MEAN_NBYTES] * 2
    assert not any(each.objects.requests() for each in bed.regions)
