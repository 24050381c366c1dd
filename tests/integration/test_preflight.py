"""What is wrong with regions and sources is said before the first task is sent."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import numpy as np
import pytest
import xarray as xr

import xr_locality as xl
from xr_locality import errors
from xr_locality.testing import Testbed

# Read by every process of the testbed's clusters as it starts.
CUSTOMIZE = """
import os, sys
provider = os.environ.get("XR_LOCALITY_TESTBED_REGION", "").partition(":")[0]
if provider == "aws" or provider == "gcp" and "worker" in sys.orig_argv:
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), provider))
"""


def pretend_to_have(directory: Path, package: str, version: str) -> None:
    """Make a package's version another one wherever a directory is first on the path."""
    facts = directory / f"{package}-{version}.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    """A testbed with an old dask in one region, and workers with another numcodecs in the other."""
    directory = tmp_path_factory.mktemp("site")
    (directory / "sitecustomize.py").write_text(CUSTOMIZE)
    pretend_to_have(directory / "aws", "dask", "2020.1.0")
    pretend_to_have(directory / "gcp", "numcodecs", "0.1.0")
    bed = Testbed()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(directory), prepend=":")
        bed.start()
    yield bed
    bed.close()


def write(bed: Testbed, region: str) -> xr.DataArray:
    """Write a small dataset into a region, and open it."""
    objects = bed[region].objects
    dataset = xr.Dataset({"t": (("time", "y"), np.ones((4, 3), dtype="float32"))})
    url = bed.write(dataset.chunk(time=2), region, "t.zarr", mode="w")
    opened = xl.tag(xr.open_zarr(url, storage_options=objects.storage_options), region)
    array: xr.DataArray = opened.t
    return array


def clusters(bed: Testbed) -> list[tuple[str, ...]]:
    """List what runs in each region."""
    return [each.gateway.list_clusters() for each in bed.regions]


@pytest.mark.filterwarnings("ignore:Mismatched versions")
class TestVersions:
    def test_another_dask_is_refused(self, uneven: Testbed) -> None:
        """A region with another dask is named with both versions, and its cluster is ended."""
        mean = write(uneven, "aws:us-west-2").mean()
        with xl.Session(uneven.endpoints(minimum=1, maximum=1)):
            with pytest.raises(errors.EndpointError, match="dask 2020.1.0 on its sch") as caught:
                mean.locality.compute()
            assert clusters(uneven) == [(), ()]
        assert caught.value.region == "aws:us-west-2"
        assert (caught.value.package, caught.value.there) == ("dask", "2020.1.0")

    def test_slight_difference_warns_once(self, uneven: Testbed) -> None:
        """Another numcodecs is worth one warning in the life of a cluster."""
        array = write(uneven, "gcp:us-central1")
        with xl.Session(uneven.endpoints(minimum=1, maximum=1)):
            with pytest.warns(errors.LocalityWarning, match="numcodecs 0.1.0 .* on its workers"):
                assert float(array.mean().locality.compute()) == 1.0
            assert float(array.sum().locality.compute()) == 12.0

    def test_warn_goes_on(self, uneven: Testbed) -> None:
        """With version_check="warn" the same differences are warnings, all of them."""
        difference = write(uneven, "aws:us-west-2").mean() - write(uneven, "gcp:us-central1").mean()
        with (
            xl.Session(uneven.endpoints(minimum=1, maximum=1), version_check="warn"),
            pytest.warns(errors.LocalityWarning) as told,
        ):
            assert float(difference.locality.compute()) == 0.0
        texts = " ".join(str(each.message) for each in told)
        assert "dask 2020.1.0" in texts
        assert "numcodecs 0.1.0" in texts


def test_package_that_workers_lack(
    testbed: Testbed, session: xl.Session, a: xr.Dataset, tmp_path: Path, monkeypatch: Any
) -> None:
    """A module that only this machine has is named before anything fails by it."""
    (tmp_path / "only_on_this_machine.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_on_this_machine  # type: ignore[import-not-found]

    doubled = xr.apply_ufunc(
        only_on_this_machine.double, a.t, dask="parallelized", output_dtypes=[a.t.dtype]
    )
    with pytest.raises(errors.EndpointError, match="lacks the package 'only_on_this_machine'"):
        doubled.mean().locality.compute()
    sys.modules.pop("only_on_this_machine")


def count_looks(session: xl.Session) -> int:
    """Count the workers' looks at themselves and their sources, in all regions."""

    def count(dask_scheduler: Any = None) -> int:
        prefix = dask_scheduler.task_prefixes.get("xr-locality-preflight")
        return 0 if prefix is None else prefix.state_counts["memory"]

    async def ask() -> int:
        assert session.resources.pool is not None
        connections = session.resources.pool.connections.values()
        return sum([await each.client.run_on_scheduler(count) for each in connections])

    assert session.resources.loop is not None
    return session.resources.loop.run(ask())


def test_warm_session_asks_nothing(testbed: Testbed, a: xr.Dataset, b: xr.Dataset) -> None:
    """Each source is read from once in its region, and no more while the clusters live."""
    difference = a.t.mean("time") - b.t.mean("time")

    def looked_up() -> list[str]:
        return [
            record.reader
            for region in testbed.regions
            for record in region.objects.requests()
            if record.path.endswith("/t/zarr.json")
        ]

    with xl.Session(testbed.endpoints(minimum=1, maximum=1)) as session:
        for region in testbed.regions:
            region.objects.clear_requests()
        difference.locality.compute()
        assert looked_up() == ["aws:us-west-2", "gcp:us-central1"]
        assert count_looks(session) == 2
        difference.locality.compute()
        (a.t + 1).max().locality.compute()
        assert looked_up() == ["aws:us-west-2", "gcp:us-central1"]
        assert count_looks(session) == 2


@dataclass
class Bucket:
    """An S3 server over a directory, which can stop to accept its key."""

    directory: Path
    key: str = "AKIAGOOD"
    accepts: bool = True
    asked: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def storage_options(self) -> dict[str, Any]:
        """What s3fs needs to reach it."""
        return {
            "key": self.key,
            "secret": "a-secret-key",
            "endpoint_url": f"http://127.0.0.1:{self.port}",
        }


class Handler(BaseHTTPRequestHandler):
    """Answers as S3 does, as far as reading goes."""

    bucket: ClassVar[Bucket]

    def do_GET(self) -> None:
        """Send an object or part of it, or S3's error."""
        bucket = self.bucket
        bucket.asked.append(self.path)
        signed = f"Credential={bucket.key}/" in self.headers.get("Authorization", "")
        file = bucket.directory / self.path.partition("?")[0].lstrip("/")
        if not (signed and bucket.accepts):
            return self.refuse(403, "InvalidAccessKeyId", "No such key of a user's.")
        if not file.is_file():
            return self.refuse(404, "NoSuchKey", "The specified key does not exist.")
        body, status = file.read_bytes(), 200
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            body, status = body[int(wanted[1]) : int(wanted[2]) + 1], 206
        return self.answer(status, body)

    def refuse(self, status: int, code: str, message: str) -> None:
        """Send an error as S3 writes it."""
        text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        self.answer(status, text.encode())

    def answer(self, status: int, body: bytes) -> None:
        """Send a body."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def buckets(tmp_path: Path) -> Iterator[dict[str, Bucket]]:
    """A bucket for each region, each with a key of its own."""
    servers, made = [], {}
    for region in ("aws:us-west-2", "gcp:us-central1"):
        directory = tmp_path / region.partition(":")[0]
        dataset = xr.Dataset({"t": (("time", "y"), np.ones((4, 3)))}).chunk(time=2)
        dataset.to_zarr(directory / "bucket" / "t.zarr", zarr_format=2)
        bucket = made[region] = Bucket(directory=directory)
        handler = type("Handler", (Handler,), {"bucket": bucket})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        bucket.port = server.server_address[1]
        Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
    yield made
    for server in servers:
        server.shutdown()
        server.server_close()


def open_in(buckets: dict[str, Bucket], region: str) -> xr.DataArray:
    """Open the dataset of a region with the key that its bucket accepts."""
    options = buckets[region].storage_options
    dataset = xr.open_zarr("s3://bucket/t.zarr", storage_options=options)
    array: xr.DataArray = xl.tag(dataset, region).t
    return array


class TestCredentials:
    @pytest.mark.parametrize("wrong", ["aws:us-west-2", "gcp:us-central1"])
    def test_wrong_on_one_side(
        self, session: xl.Session, buckets: dict[str, Bucket], wrong: str
    ) -> None:
        """The one region whose workers are refused is named, and no chunk is read anywhere."""
        difference = open_in(buckets, "aws:us-west-2") - open_in(buckets, "gcp:us-central1")
        buckets[wrong].accepts = False
        for bucket in buckets.values():
            bucket.asked.clear()
        with pytest.raises(errors.SourceError, match="cannot be read by the workers") as caught:
            difference.mean().locality.compute()
        assert caught.value.region == wrong
        assert caught.value.kind == "PermissionError"
        assert "a-secret-key" not in str(caught.value)
        asked = [path for bucket in buckets.values() for path in bucket.asked]
        assert "/bucket/t.zarr/t/.zarray" in asked
        assert not any(re.search(r"/\d+\.\d+$", path) for path in asked)

    def test_wrong_on_both_sides(self, session: xl.Session, buckets: dict[str, Bucket]) -> None:
        """Both regions' problems come in one error; with new rights the same run works."""
        a, b = (open_in(buckets, region) for region in buckets)
        difference = a.mean() - b.mean()
        for bucket in buckets.values():
            bucket.accepts = False
        with pytest.raises(errors.LocalityErrorGroup, match="The run was not started") as caught:
            difference.locality.compute()
        problems = caught.value.exceptions
        assert [type(each) for each in problems] == [errors.SourceError, errors.SourceError]
        assert {each.region for each in problems} == set(buckets)  # type: ignore[attr-defined]
        for bucket in buckets.values():
            bucket.accepts = True
        assert float(difference.locality.compute()) == 0.0

    def test_warn_goes_on(self, session: xl.Session, buckets: dict[str, Bucket]) -> None:
        """With source_check="warn" the run fails by itself, after the warning."""
        mean = open_in(buckets, "aws:us-west-2").mean()
        buckets["aws:us-west-2"].accepts = False
        with (
            pytest.warns(errors.LocalityWarning, match="cannot be read"),
            pytest.raises(PermissionError),
        ):
            mean.locality.compute(source_check="warn")


def test_clusters_opened_for_a_refused_run_are_ended(
    testbed: Testbed, buckets: dict[str, Bucket]
) -> None:
    """What was opened for the run alone is closed; what was open before stays."""
    a, b = (open_in(buckets, region) for region in buckets)
    # Those of the module's shared session, which other tests use.
    others = clusters(testbed)
    # Sessions with equal endpoints would share its clusters.
    with xl.Session(testbed.endpoints(minimum=1, maximum=3)):
        a.mean().locality.compute()
        buckets["gcp:us-central1"].accepts = False
        with pytest.raises(errors.SourceError):
            (a.mean() - b.mean()).locality.compute()
        new = [
            len(now) - len(before) for now, before in zip(clusters(testbed), others, strict=True)
        ]
    assert new == [1, 0]
