"""Region knowledge as users meet it: plans, the accessor and `where`, with an emulated S3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from moto.server import ThreadedMotoServer

import xr_locality as xl
from xr_locality import api
from xr_locality.errors import ConfigurationError, LocalityErrorGroup, RegionError, SourceError

ENDPOINTS = {"aws:us-west-2": None, "aws:eu-west-1": None}


@pytest.fixture(scope="module")
def options() -> Iterator[dict[str, Any]]:
    """Start an S3 with a zarr store in each of two buckets; give the options to reach it."""
    import boto3

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        given = {"key": "k", "secret": "not to be shown", "endpoint_url": f"http://{host}:{port}"}
        client = boto3.client(
            "s3",
            endpoint_url=given["endpoint_url"],
            aws_access_key_id="k",
            aws_secret_access_key="s",
            region_name="us-east-1",
        )
        for bucket, region in (("oregon", "us-west-2"), ("ireland", "eu-west-1")):
            place = {"LocationConstraint": region}
            client.create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
            dataset = xr.Dataset({"t": (("y", "x"), np.ones((8, 6)))}).chunk(y=2)
            dataset.to_zarr(f"s3://{bucket}/a.zarr", storage_options=given, zarr_format=2)
        yield given
    finally:
        server.stop()


@pytest.fixture
def probing(tmp_path: Path) -> Iterator[None]:
    """Turn probing on, with the test's own directory for answers."""
    with dask.config.set(
        {"locality.probe": "auto", "locality.cache-directory": str(tmp_path / "cache")}
    ):
        yield


@pytest.fixture
def pair(options: dict[str, Any]) -> tuple[xr.Dataset, xr.Dataset]:
    """Open both stores, of which nothing is tagged."""
    oregon, ireland = (
        xr.open_zarr(f"s3://{bucket}/a.zarr", storage_options=options, chunks={})
        for bucket in ("oregon", "ireland")
    )
    return oregon, ireland


def heads(caplog: pytest.LogCaptureFixture) -> list[str]:
    """List the buckets that were asked for."""
    lines = (record.getMessage() for record in caplog.records if record.name == "werkzeug")
    return [
        bucket for line in lines for bucket in ("oregon", "ireland") if f"HEAD /{bucket} " in line
    ]


@pytest.mark.usefixtures("probing")
class TestProbing:
    def test_plan_asks_for_buckets(
        self, pair: tuple[xr.Dataset, xr.Dataset], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A plan finds the regions of data that nobody tagged, and asks once for each bucket."""
        oregon, ireland = pair
        difference = oregon.t.mean("y") - ireland.t.mean("y")
        caplog.clear()
        plan = xl.plan(difference, endpoints=ENDPOINTS)
        assert [str(region) for region in plan.regions] == ["aws:eu-west-1", "aws:us-west-2"]
        assert all("x-amz-bucket-region" in source.evidence for source in plan.sources)
        xl.plan(difference, endpoints=ENDPOINTS)
        assert sorted(heads(caplog)) == ["ireland", "oregon"]
        assert "not to be shown" not in f"{plan.explain()}{plan.to_dict()}{caplog.text}"

    def test_accessor_asks_and_reprs_do_not(
        self, pair: tuple[xr.Dataset, xr.Dataset], caplog: pytest.LogCaptureFixture
    ) -> None:
        """`.regions` is a question to be answered; showing an object is none."""
        oregon, _ = pair
        caplog.clear()
        repr(oregon)
        oregon._repr_html_()
        repr(oregon.locality)
        assert heads(caplog) == []
        assert [str(region) for region in oregon.locality.regions] == ["aws:us-west-2"]
        table = oregon.locality.sources
        caplog.clear()
        assert "aws:us-west-2" in repr(table)
        assert heads(caplog) == []

    def test_tagged_data_are_not_asked_for(
        self, pair: tuple[xr.Dataset, xr.Dataset], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Where a tag or a rule answers, no request is sent."""
        oregon, ireland = pair
        xl.tag(oregon, "aws:us-west-2")
        caplog.clear()
        plan = xl.plan(
            oregon.t.mean("y") - ireland.t.mean("y"),
            endpoints=ENDPOINTS,
            rules={"s3://ireland": "aws:eu-west-1"},
        )
        assert len(plan.regions) == 2
        assert heads(caplog) == []

    def test_contradiction_is_explained(self, pair: tuple[xr.Dataset, xr.Dataset]) -> None:
        """A plan shows who says something else than whom it believes."""
        oregon, _ = pair
        plan = xl.plan(
            oregon.t.mean(),
            endpoints=ENDPOINTS,
            probe="always",
            rules={"s3://oregon": "aws:eu-west-1"},
        )
        (source,) = plan.sources
        assert str(source.region) == "aws:eu-west-1"
        assert source.evidence.startswith("rule 's3://oregon'; ")
        assert source.evidence.endswith("x-amz-bucket-region: 'us-west-2' says aws:us-west-2")

    @pytest.mark.parametrize("through", ["session", "policy", "configuration"])
    def test_one_setting_turns_it_off(
        self,
        through: str,
        pair: tuple[xr.Dataset, xr.Dataset],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """With ``probe="never"`` nobody is asked, wherever it is said."""
        oregon, _ = pair
        policy = {"probe": "never"}
        caplog.clear()
        with (
            dask.config.set({"locality.probe": "never" if through == "configuration" else "auto"}),
            xl.Session(ENDPOINTS, **(policy if through == "session" else {})),
        ):
            if through != "policy":
                assert oregon.locality.regions == ()
            with pytest.raises(RegionError, match="not known"):
                xl.plan(oregon.t.mean(), **(policy if through == "policy" else {}))
        assert heads(caplog) == []


class TestReprOfAccessor:
    def test_is_a_short_table(self, tmp_path: Path) -> None:
        """The accessor shows what is read and where that is, the first few sources of many."""
        dataset = xr.Dataset({"t": ("x", np.ones(4))}).chunk()
        paths = [tmp_path / f"{n:02}.zarr" for n in range(12)]
        for path in paths:
            dataset.to_zarr(path, zarr_format=2)
        opened = [xr.open_zarr(path, chunks={}) for path in paths]
        one = repr(xl.tag(opened[0], "aws:us-west-2").locality).splitlines()
        assert one[0] == "<locality of Dataset>"
        assert one[1].split() == ["url", "region", "evidence", "variables", "stored"]
        assert "aws:us-west-2" in one[2]
        many = repr(xr.concat(opened, "n").locality).splitlines()
        assert (len(many), many[-1]) == (13, "and 2 more")

    def test_of_data_in_memory(self) -> None:
        """An object that reads nothing says so."""
        assert repr(xr.DataArray(1.0).locality) == "<locality of DataArray>\n<no stored data>"


class TestWhere:
    def test_each_url_in_its_order(self, options: dict[str, Any]) -> None:
        """Each URL is answered for, in the order given."""
        found = api.where(
            "s3://ireland/a.zarr",
            "s3://oregon/a.zarr",
            "s3://nowhere/a",
            "/data/a.zarr",
            storage_options=options,
            probe="auto",
        )
        regions = [None if each.region is None else str(each.region) for each in found]
        assert regions == ["aws:eu-west-1", "aws:us-west-2", None, "local"]
        assert "knows no bucket 'nowhere'" in found[2].evidence
        assert api.where() == ()

    def test_nothing_secret_is_shown(self, options: dict[str, Any]) -> None:
        """What is shown of a URL holds neither its credentials nor the options'."""
        urls = ("s3://me:not to be shown@oregon/a?token=not to be shown",)
        found = api.where(*urls, storage_options=options, probe="auto")
        shown = f"{found!r}{found[0].to_text()}{json.dumps(found[0].to_dict())}"
        assert "not to be shown" not in shown
        assert str(found[0].region) == "aws:us-west-2"

    def test_policy_and_session(self) -> None:
        """Rules of the session hold, and those of the call before them."""
        with xl.Session({}, rules={"s3://b": "aws:us-west-2"}):
            assert str(api.where("s3://b/a")[0].region) == "aws:us-west-2"
            (found,) = api.where("s3://b/a", rules={"s3://b": "osn:ncsa"})
            assert str(found.region) == "osn:ncsa"

    def test_text(self) -> None:
        """For people: the region, why, who contradicts, and who pays."""
        (found,) = api.where("gs://pangeo-era5/a", rules={"gs://pangeo-era5": "gcp:us-east1"})
        row = "pangeo-data/pangeo-datastore:intake-catalogs,#78"
        assert found.to_text().splitlines() == [
            "gs://pangeo-era5/a",
            "  gcp:us-east1: rule 'gs://pangeo-era5'",
            f"  but gcp:us-central1: the table of public buckets ({row})",
            "  the reader pays for requests and egress",
        ]

    def test_dict(self) -> None:
        """For programs: plain values."""
        (found,) = api.where("s3://noaa-goes16/a")
        assert json.loads(json.dumps(found.to_dict())) == {
            "url": "s3://noaa-goes16/a",
            "region": "aws:us-east-1",
            "evidence": "the table of public buckets (RODA:noaa-goes.yaml)",
            "how": "table",
            "requester_pays": None,
            "leaves": "always",
            "access": None,
            "conflicts": [],
        }

    def test_wrong_arguments(self) -> None:
        """Empty URLs, unknown settings and bad rules are errors."""
        with pytest.raises(SourceError):
            api.where("")
        with pytest.raises(ConfigurationError):
            api.where("s3://b", porbe="never")
        with pytest.raises((ConfigurationError, LocalityErrorGroup)):
            api.where("s3://b", rules={"s3://b": "moon"})


def test_frames_of_delayed_values_are_planned() -> None:
    """A DataFrame made of Delayeds is planned, though some of its expressions state no meta."""
    dd, pd = pytest.importorskip("dask.dataframe"), pytest.importorskip("pandas")
    frame = dask.delayed(pd.DataFrame)({"a": [1.0, 2.0]})
    total = dd.from_delayed([frame], meta=pd.DataFrame({"a": [1.0]})).a.sum()
    plan = xl.plan(total, endpoints={"aws:us-west-2": None})
    assert plan.moved == {}
