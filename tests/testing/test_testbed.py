"""The testbed starts real servers and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import dask.array as da
import numpy as np
import psutil
import pytest
import xarray as xr
import yaml
from dask_gateway import BasicAuth, Gateway

from support.polling import patience, until
from xr_locality.errors import (
    ConfigurationError,
    EndpointError,
    MissingDependencyError,
    RegionError,
)
from xr_locality.regions.region import Region
from xr_locality.testing import REGION_VARIABLE, GatewayServer, Testbed
from xr_locality.testing import gateway as gateway_module
from xr_locality.testing.servers import ask, free_ports
from xr_locality.testing.watchdog import marked_processes

AWS, GCP = "aws:us-west-2", "gcp:us-central1"
PATIENCE_SECONDS = patience(20)

pytestmark = pytest.mark.gateway


def processes_of(marker: str) -> list[psutil.Process]:
    """List the processes of a testbed, its watchdog too."""
    watchdogs = [
        process
        for process in psutil.process_iter(["cmdline"])
        if marker in (process.info["cmdline"] or ()) and process.pid != os.getpid()
    ]
    return [*marked_processes(marker), *watchdogs]


def commands_of(marker: str) -> set[str]:
    """List the words of the commands that a testbed's processes were started with."""
    words: set[str] = set()
    for process in marked_processes(marker):
        # Empty for one that ends just now.
        words.update(process.as_dict(["cmdline"])["cmdline"] or ())
    return words


def client_of(server: GatewayServer, *, password: str | None = None) -> Any:
    """Make a dask-gateway client that takes nothing from the configuration."""
    return Gateway(
        address=server.address,
        proxy_address=server.proxy_address,
        public_address=server.address,
        auth=BasicAuth(username=server.username, password=password or server.password),
        asynchronous=True,
    )


async def list_clusters(server: GatewayServer, *, password: str) -> list[Any]:
    """Ask a gateway for its clusters through dask-gateway's own client."""
    async with client_of(server, password=password) as client:
        listed: list[Any] = await client.list_clusters()
        return listed


async def call_on_worker(server: GatewayServer, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function on a worker of a new cluster, and end the cluster."""
    async with client_of(server) as gateway:
        options = await gateway.cluster_options(use_local_defaults=False)
        cluster = await gateway.new_cluster(options)
        try:
            await cluster.scale(1)
            async with cluster.get_client(set_as_default=False) as client:
                return await client.submit(function, *args, pure=False)
        finally:
            await cluster.shutdown()


class TestRunning:
    def test_regions_in_order(self, testbed: Testbed) -> None:
        """The regions are listed in the order given, each found by region or name."""
        assert [str(each.region) for each in testbed] == [AWS, GCP]
        assert testbed[Region.parse(GCP)] is testbed["GCP us-central1"]
        assert all(server.is_alive for each in testbed for server in each.servers)

    def test_each_gateway_has_its_own_password(self, testbed: Testbed) -> None:
        """A gateway answers whoever has its password, and refuses the other's."""
        for mine, other in ((AWS, GCP), (GCP, AWS)):
            server = testbed[mine].gateway
            assert asyncio.run(list_clusters(server, password=server.password)) == []
            with pytest.raises(Exception, match="401"):
                asyncio.run(list_clusters(server, password=testbed[other].gateway.password))

    def test_each_bucket_answers_its_region(self, testbed: Testbed) -> None:
        """An unsigned HEAD of a bucket answers the bucket's own region."""
        for each in testbed:
            port = int(each.objects.endpoint_url.rpartition(":")[2])
            answer = ask("HEAD", port, f"/{each.objects.bucket}")
            assert answer is not None
            assert answer.status == 200
            assert answer.headers["x-amz-bucket-region"] == each.region.name

    def test_written_data_come_back(self, testbed: Testbed) -> None:
        """What was written into a region's store is read from it unchanged."""
        written = xr.Dataset({"t": (("x", "y"), np.arange(12.0).reshape(3, 4))}, {"x": [1, 2, 3]})
        url = testbed.write(written.chunk(x=1), GCP, "back/again.zarr")
        options = testbed[GCP].objects.storage_options
        read = xr.open_dataset(url, engine="zarr", chunks={}, storage_options=options)
        xr.testing.assert_identical(read.compute(), written)

    def test_access_log_tells_who_read(self, testbed: Testbed) -> None:
        """Requests of a region's workers bear its name, those of this process do not."""
        objects = testbed[GCP].objects
        url = testbed.write(xr.Dataset({"t": ("x", da.arange(5, chunks=5))}), GCP, "who.zarr")
        options = objects.storage_options
        objects.clear_requests()
        assert objects.requests() == ()

        def read() -> tuple[int, str | None]:
            import s3fs

            files = s3fs.S3FileSystem(skip_instance_cache=True, **options)
            return len(files.cat_file(f"{url}/t/c/0")), os.environ.get(REGION_VARIABLE)

        nbytes, nowhere = read()
        assert nowhere is None
        assert {record.reader for record in objects.requests()} == {"client"}
        objects.clear_requests()
        assert asyncio.run(call_on_worker(testbed[AWS].gateway, read)) == (nbytes, AWS)

        assert {record.reader for record in objects.requests()} == {AWS}
        (record,) = (record for record in objects.requests() if record.method == "GET")
        assert record.path == "/gcp-us-central1/who.zarr/t/c/0"
        assert record.key == "who.zarr/t/c/0"
        assert (record.status, record.nbytes) == (200, nbytes)
        assert testbed[AWS].gateway.list_clusters() == ()

    def test_config_names_each_gateway(self, testbed: Testbed) -> None:
        """The configuration tells each gateway's addresses and credentials."""
        endpoints = testbed.config(maximum=3)["endpoints"]
        assert list(endpoints) == [AWS, GCP]
        server = testbed[GCP].gateway
        assert endpoints[GCP] == {
            "gateway": server.address,
            "proxy-address": server.proxy_address,
            "auth": {"type": "basic", "username": server.username, "password": server.password},
            "minimum": 0,
            "maximum": 3,
        }

    def test_endpoints_point_to_the_gateways(self, testbed: Testbed) -> None:
        """Each region has an endpoint at its own gateway."""
        endpoints = testbed.endpoints(maximum=3)
        assert [str(region) for region in endpoints] == [AWS, GCP]
        assert all(
            testbed[region].gateway.address in repr(endpoints[region]) for region in endpoints
        )

    def test_catalog_tags_entries(self, testbed: Testbed, tmp_path: Path) -> None:
        """A catalog's entries hold the URL, how to reach it, and its region."""
        objects = testbed[AWS].objects
        path = testbed.catalog(tmp_path / "catalog.yaml", {"a": objects.url("a.zarr")})
        assert yaml.safe_load(path.read_text())["sources"]["a"] == {
            "driver": ["xarray_locality", "zarr"],
            "args": {
                "urlpath": "s3://aws-us-west-2/a.zarr",
                "storage_options": objects.storage_options,
            },
            "metadata": {"locality": {"region": AWS}},
        }

    def test_foreign_url_is_refused(self, testbed: Testbed, tmp_path: Path) -> None:
        """A catalog entry that no region of the testbed holds is an error that names it."""
        with pytest.raises(ConfigurationError, match=r"'s3://elsewhere/a.zarr'"):
            testbed.catalog(tmp_path / "catalog.yaml", {"a": "s3://elsewhere/a.zarr"})

    def test_unknown_region_is_refused(self, testbed: Testbed) -> None:
        """Asking for a region that is not emulated names those that are."""
        with pytest.raises(ConfigurationError, match=r"'aws:eu-west-1'.*aws:us-west-2"):
            testbed["aws:eu-west-1"]

    def test_no_password_is_shown(self, testbed: Testbed) -> None:
        """No repr shows a password."""
        shown = repr((testbed, testbed.regions, [each.servers for each in testbed]))
        assert "aws:us-west-2" in shown
        assert not any(each.gateway.password in shown for each in testbed)


class TestStarting:
    def test_servers_start_in_parallel(self) -> None:
        """All processes are there before the first server is ready; a second start is refused."""
        with Testbed() as bed:
            born = [psutil.Process(s.pid).create_time() for each in bed for s in each.servers]
            # Its first request tells when an object server became ready.
            ready = [path.stat().st_mtime for path in bed.directory.glob("*/access.jsonl")]
            assert len(born) == 4
            assert max(born) < min(ready)
            with pytest.raises(EndpointError, match="started before"):
                bed.start()

    def test_starts_a_plain_cluster(self, testbed: Testbed) -> None:
        """A region starts a cluster with a worker, which ends with its block for good."""
        with testbed[AWS].cluster() as cluster:
            assert testbed[AWS].gateway.list_clusters() == (cluster.name,)
            with cluster.get_client(set_as_default=False) as client:
                assert client.submit(os.getenv, REGION_VARIABLE).result() == AWS
        del cluster, client
        # What is collected late and fails then would fail another test.
        gc.collect()
        assert testbed[AWS].gateway.list_clusters() == ()

    def test_link_slows_who_reads_from_outside(self) -> None:
        """Readers of elsewhere get so many bytes a second, those inside what they ask for."""
        with Testbed([AWS], outside_bytes_per_second=10_000) as bed:
            objects = bed[AWS].objects
            port = int(objects.endpoint_url.rpartition(":")[2])
            written = xr.Dataset(
                {"small": ("x", np.arange(1_250.0)), "large": ("y", np.ones(12_500))}
            )
            stored = {name: {"compressors": None} for name in written}
            bed.write(written, AWS, "a.zarr", encoding=stored)

            start = time.monotonic()
            answer = ask("GET", port, f"/{objects.bucket}/a.zarr/small/c/0")
            assert time.monotonic() - start >= 1.0
            assert answer is not None
            assert answer.body == written.small.values.tobytes()

            # 10 s away if it went through the link, and ``ask`` gives up after 5.
            inside = {"User-Agent": "app/aws#us-west-2"}
            answer = ask("GET", port, f"/{objects.bucket}/a.zarr/large/c/0", headers=inside)
            assert answer is not None
            assert answer.body == written.large.values.tobytes()

    def test_taken_port_is_given_up(
        self, testbed: Testbed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A gateway whose port another one took meanwhile starts again elsewhere."""
        taken = testbed[GCP].gateway.address
        api_port, tcp_port = free_ports(2)
        drawn = iter([[api_port, int(taken.rpartition(":")[2]), tcp_port]])
        monkeypatch.setattr(
            gateway_module,
            "free_ports",
            lambda count, host: next(drawn, None) or free_ports(count, host),
        )
        with Testbed([AWS]) as bed:
            assert bed[AWS].gateway.list_clusters() == ()
            assert bed[AWS].gateway.address != taken

    def test_broken_server_shows_its_log(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A server that dies while starting is an error with its log, and nothing stays."""
        (tmp_path / "moto.py").write_text("raise RuntimeError('moto is broken today')")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        bed = Testbed([AWS])
        with pytest.raises(EndpointError, match=r"(?s)object server.*aws:us-west-2.*broken today"):
            bed.start()
        assert processes_of(bed.marker) == []

    def test_slow_server_is_given_up(self) -> None:
        """Servers that are not ready in time are an error, and nothing stays."""
        bed = Testbed([AWS], start_timeout=0.0)
        with pytest.raises(EndpointError, match="'aws:us-west-2' was not ready in time"):
            bed.start()
        assert processes_of(bed.marker) == []
        assert not bed.directory.exists()

    @pytest.mark.parametrize(
        ("regions", "match"),
        [
            ([], "at least one"),
            ([AWS, "local"], "'local'"),
            ([AWS, "AWS us-west-2"], "different names"),
        ],
        ids=["none", "local", "twice"],
    )
    def test_impossible_regions_are_refused(self, regions: list[str], match: str) -> None:
        """Regions that cannot be emulated are refused before anything starts."""
        with pytest.raises(ConfigurationError, match=match):
            Testbed(regions)

    def test_malformed_region_is_refused(self) -> None:
        """A name that is no region is refused as everywhere else."""
        with pytest.raises(RegionError):
            Testbed(["aws:nowhere"])

    def test_missing_package_names_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without moto the error says which extra to install."""
        monkeypatch.setitem(sys.modules, "moto", None)
        with pytest.raises(MissingDependencyError, match=r"moto.*xr-locality\[testing\]"):
            Testbed()


class TestEnding:
    def test_closes_after_an_exception(self) -> None:
        """An exception in the block passes through, and ends every process."""
        bed = Testbed([AWS])
        with pytest.raises(RuntimeError, match="^4 processes$"), bed:
            raise RuntimeError(f"{len(processes_of(bed.marker))} processes")
        assert processes_of(bed.marker) == []
        assert not bed.directory.exists()

    def test_close_twice(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Closing before the start, or again, does nothing; the logs are kept if wanted."""
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        bed = Testbed([AWS], keep_logs=True)
        bed.close()
        with bed:
            bed.close()
        bed.close()
        assert processes_of(bed.marker) == []
        logs = {path.name for path in bed.directory.glob("*/*.log")}
        assert logs == {"gateway.log", "object-server.log"}
        with pytest.raises(EndpointError, match="not running"):
            bed[AWS]

    def test_killed_gateway_is_gone(self) -> None:
        """A killed gateway answers no more, at either address, and the object server stays."""
        with Testbed([AWS]) as bed:
            server = bed[AWS].gateway
            server.kill()
            server.kill()
            assert not server.is_alive
            with pytest.raises(EndpointError, match=r"'aws:us-west-2'.*does not answer"):
                server.list_clusters()
            assert ask("GET", int(server.proxy_address.rpartition(":")[2]), "/") is None
            assert bed[AWS].objects.is_alive

    @pytest.mark.parametrize(
        ("after", "signal_number", "returncode"),
        [
            ("signal.pause()", signal.SIGKILL, -signal.SIGKILL),
            ("signal.pause()", signal.SIGINT, -signal.SIGINT),
            ("sys.exit(7)", None, 7),
        ],
        ids=["kill -9", "Ctrl-C", "exit without close"],
    )
    def test_nothing_outlives_the_owner(
        self, after: str, signal_number: int | None, returncode: int
    ) -> None:
        """However the owner ends, the servers and clusters end, and their files go."""
        script = f"""
            import asyncio, signal, sys
            from dask_gateway import BasicAuth, Gateway
            from xr_locality.testing import Testbed

            async def start_cluster(server):
                gateway = Gateway(
                    server.address,
                    proxy_address=server.proxy_address,
                    public_address=server.address,
                    auth=BasicAuth(server.username, server.password),
                    asynchronous=True,
                )
                async with gateway:
                    name = await gateway.submit()
                    await (await gateway.connect(name)).scale(1)

            if __name__ == "__main__":
                bed = Testbed(["aws:us-west-2"])
                bed.start()
                asyncio.run(start_cluster(bed["aws:us-west-2"].gateway))
                print(bed.marker, bed.directory, flush=True)
                {after}
        """
        owner = subprocess.Popen(
            [sys.executable, "-c", dedent(script)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert owner.stdout is not None
            marker, directory = owner.stdout.readline().split()
            if signal_number is not None:
                assert until(lambda: "worker" in commands_of(marker))
                owner.send_signal(signal_number)
            _, errors = owner.communicate(timeout=PATIENCE_SECONDS)
            assert owner.returncode == returncode, errors
            assert until(lambda: not processes_of(marker)), processes_of(marker)
            assert until(lambda: not Path(directory).exists())
        finally:
            owner.kill()
            owner.communicate()
