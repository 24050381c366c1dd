"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import dask
import pytest
from distributed import LocalCluster

from support.polling import patience
from xr_locality.cli import COMMANDS, Command, main
from xr_locality.errors import EndpointError, LocalityErrorGroup
from xr_locality.session import Session
from xr_locality.testing import Testbed


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "xr_locality", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(60),
    )


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], str]:
    """Return a function that registers a command which calls another, and names it."""

    def register(call: Callable[[], None]) -> str:
        def run(given: argparse.Namespace) -> None:
            call()

        added = Command(summary="do it", add_arguments=lambda parser: None, run=run)
        monkeypatch.setitem(COMMANDS, "do", added)  # type: ignore[arg-type]
        return "do"

    return register


def raiser(error: BaseException) -> Callable[[], None]:
    """Make a function that raises."""

    def call() -> None:
        raise error

    return call


class TestParsing:
    def test_version(self) -> None:
        """`python -m xr_locality --version` prints the installed version."""
        done = run("--version")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"xr-locality {metadata.version('xr-locality')}\n"

    def test_help_lists_the_commands(self, capsys: pytest.CaptureFixture[str]) -> None:
        """`--help` names each command with its summary."""
        with pytest.raises(SystemExit) as caught:
            main(["--help"])
        assert caught.value.code == 0
        shown = " ".join(capsys.readouterr().out.split())
        for name, command in COMMANDS.items():
            assert f"{name} {command.summary}" in shown

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["fly"],
            ["demo", "--fly"],
            ["demo", "--size", "0"],
            ["demo", "--size", "-5"],
            ["demo", "--size", "many"],
            ["where"],
            ["where", ""],
            ["where", "s3://b", "--probe", "sometimes"],
            ["where", "s3://b", "--endpoint-url", "https://[bad"],
            ["catalog"],
            ["catalog", "fly"],
            ["catalog", "tag"],
            ["catalog", "check", "c.yaml", "--probe", "sometimes"],
            ["endpoints", "more"],
        ],
        ids=" ".join,
    )
    def test_wrong_usage(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        """What cannot be understood ends with 2 and the usage."""
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        assert "usage: xr-locality" in capsys.readouterr().err

    def test_unknown_command_in_a_process(self) -> None:
        """An unknown command is named, beside those that there are."""
        done = run("fly")
        assert done.returncode == 2
        assert "'fly'" in done.stderr
        assert "demo" in done.stderr

    def test_is_light(self) -> None:
        """Parsing loads neither the demonstration nor a scheduler."""
        code = (
            "import sys, xr_locality.cli as cli; "
            "sys.exit(any(name.startswith(('xr_locality.demo', 'xr_locality.testing', "
            "'distributed', 'rich')) for name in sys.modules))"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestEnding:
    def test_reader_that_has_enough_is_no_traceback(self) -> None:
        """Where what reads the output ends first, as ``head`` does, the command just ends."""
        command = [sys.executable, "-m", "xr_locality", "where", "s3://noaa-goes16/a"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.close()
            assert process.stderr is not None
            assert process.stderr.read() == b""
        assert process.returncode == 1

    def test_success(self, command: Callable[[Callable[[], None]], str]) -> None:
        """A command that does its work ends with 0."""
        called: list[bool] = []
        assert main([command(lambda: called.append(True))]) == 0
        assert called == [True]

    def test_error_of_ours(
        self, command: Callable[[Callable[[], None]], str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """An error of the library's is one line on the standard error, and 1."""
        assert main([command(raiser(EndpointError("No gateway answers.")))]) == 1
        shown = capsys.readouterr()
        assert (shown.out, shown.err) == ("", "xr-locality: error: No gateway answers.\n")

    def test_several_errors(
        self, command: Callable[[Callable[[], None]], str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Several errors are all shown."""
        group = LocalityErrorGroup("Unusable:", [EndpointError("one"), EndpointError("two")])
        assert main([command(raiser(group))]) == 1
        assert capsys.readouterr().err.splitlines()[1:] == ["  - one", "  - two"]

    def test_interrupt(
        self, command: Callable[[Callable[[], None]], str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Ctrl-C ends with 130 and without a traceback."""
        assert main([command(raiser(KeyboardInterrupt()))]) == 130
        assert capsys.readouterr().err == "xr-locality: interrupted\n"

    def test_bugs_are_not_hidden(self, command: Callable[[Callable[[], None]], str]) -> None:
        """An error that nobody expected keeps its traceback."""
        with pytest.raises(ZeroDivisionError):
            main([command(raiser(ZeroDivisionError()))])


class TestWhere:
    def test_known(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A region that is known is printed with its evidence, and the end is 0."""
        assert main(["where", "s3://noaa-goes16/a", "/data/a"]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "s3://noaa-goes16/a",
            "  aws:us-east-1: the table of public buckets (RODA:noaa-goes.yaml)",
            "file:///data/a",
            "  local: a file on this machine",
        ]

    def test_unknown(self, capsys: pytest.CaptureFixture[str]) -> None:
        """If nobody knows one of the regions, the end is 1, and the others are printed."""
        assert main(["where", "s3://noaa-goes16/a", "s3://b/a", "--probe", "never"]) == 1
        assert capsys.readouterr().out.splitlines()[1:] == [
            "  aws:us-east-1: the table of public buckets (RODA:noaa-goes.yaml)",
            "s3://b/a",
            "  unknown: nobody knows",
        ]

    def test_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        """`--json` prints a list with an object for each URL."""
        assert main(["where", "--json", "s3://noaa-goes16/a", "s3://b"]) == 1
        found = json.loads(capsys.readouterr().out)
        assert [(each["url"], each["region"]) for each in found] == [
            ("s3://noaa-goes16/a", "aws:us-east-1"),
            ("s3://b", None),
        ]

    def test_options(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The service and the storage account are a part of what is asked for."""
        service = ["--endpoint-url", "https://s3.fr-par.scw.cloud", "--anon"]
        assert main(["where", "s3://noaa-goes16/a", *service]) == 0
        assert "scaleway:fr-par" in capsys.readouterr().out
        assert main(["where", "az://container/a", "--account-name", "cpdataeuwest"]) == 0
        assert "azure:westeurope" in capsys.readouterr().out

    @pytest.mark.parametrize(
        "arguments",
        [
            ["where", "s3://key:not/shown@bucket/a"],
            ["where", "https://me:notshown@host.org/a?sig=notshown"],
            ["where", "https://me:not/shown@host.org/a"],
            ["where", "s3://b", "--endpoint-url", "https://me:not/shown@host.org"],
            ["where", "s3://b", "--fly", "s3://key:notshown@bucket/a"],
            ["demo", "https://me:notshown@host.org/a"],
            ["demo", "https://host.org/a?sig=notshown"],
            ["s3://key:notshown@bucket/a"],
        ],
        ids=range(8),
    )
    def test_credentials_are_not_echoed(
        self, arguments: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Whatever is wrong with it, a URL is never shown with what is secret in it."""
        with suppress(SystemExit):
            main(arguments)
        shown = capsys.readouterr()
        assert shown.out or shown.err
        assert "shown" not in f"{shown.out}{shown.err}"

    def test_wrong_rules_end_with_an_error(self, capsys: pytest.CaptureFixture[str]) -> None:
        """What is wrong in the configuration is told as for any other command."""
        with dask.config.set({"locality.rules": {"s3://b": "moon"}}):
            assert main(["where", "s3://b"]) == 1
        assert "'s3://b'" in capsys.readouterr().err


CATALOG = """\
metadata:
  locality: {region: gcp:us-central1}
sources:
  here:  # ours
    driver: zarr
    args: {urlpath: gs://pangeo-era5/era5.zarr}
  there:
    driver: zarr
    args: {urlpath: s3://noaa-goes16/a.zarr}
    metadata: {locality: {region: aws:us-east-1, requester_pays: true}}
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """Write a catalog of two regions."""
    path = tmp_path / "catalog.yaml"
    path.write_text(CATALOG)
    return path


class TestCatalogCheck:
    def test_no_endpoints(self, catalog: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Entries whose regions have no endpoint end with 1, and each is shown."""
        assert main(["catalog", "check", str(catalog)]) == 1
        assert capsys.readouterr().out.splitlines() == [
            "here  gs://pangeo-era5/era5.zarr",
            "  gcp:us-central1: catalog 'catalog.yaml'",
            "  no endpoint there",
            "  the reader pays for requests and egress",
            "there  s3://noaa-goes16/a.zarr",
            "  aws:us-east-1: catalog 'catalog.yaml', entry 'there'",
            "  no endpoint there",
            "  the reader pays for requests and egress",
            "0 of 2 entries are ready",
        ]

    def test_with_endpoints(self, catalog: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Where every region has an endpoint the end is 0; `--json` tells all of it."""
        endpoints = {"gcp:us-central1": "tcp://127.0.0.1:1", "aws:us-east-1": "tcp://127.0.0.1:2"}
        with dask.config.set({"locality.endpoints": endpoints}):
            assert main(["catalog", "check", str(catalog), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [(each["name"], each["region"], each["endpoint"]) for each in found] == [
            ("here", "gcp:us-central1", True),
            ("there", "aws:us-east-1", True),
        ]
        assert all(each["ok"] and each["requester_pays"] for each in found)

    def test_contradiction(self, catalog: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A tag that the table of public buckets contradicts is shown with it."""
        catalog.write_text(CATALOG.replace("aws:us-east-1", "aws:us-west-2"))
        main(["catalog", "check", str(catalog)])
        assert "  but aws:us-east-1: the table of public buckets" in capsys.readouterr().out

    @pytest.mark.parametrize("text", ["", "sources: 5", "a: ["])
    def test_no_catalog(self, text: str, catalog: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """What is no catalog is an error in one line."""
        catalog.write_text(text)
        assert main(["catalog", "check", str(catalog)]) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1

    def test_missing_file(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A file that is not there is an error that names it."""
        assert main(["catalog", "check", str(tmp_path / "gone.yaml")]) == 1
        assert "gone.yaml" in capsys.readouterr().err


class TestCatalogTag:
    def test_tags(self, catalog: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Known regions are written, the rest of the file stays, and the end is 0."""
        untagged = CATALOG.partition("sources:")[2].partition("    metadata")[0]
        catalog.write_text(f"sources:{untagged}")
        assert main(["catalog", "tag", str(catalog), "--dry-run"]) == 0
        assert catalog.read_text() == f"sources:{untagged}"
        assert main(["catalog", "tag", str(catalog), "--json"]) == 0
        done = json.loads(capsys.readouterr().out.partition("not changed\n")[2])
        assert done["added"]["here"]["region"] == "gcp:us-central1"
        assert catalog.read_text().splitlines()[4:6] == [
            "    metadata: {locality: {region: gcp:us-central1, requester_pays: true}}",
            "  there:",
        ]
        assert "# ours" in catalog.read_text()

    def test_unknown(self, catalog: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """If nobody knows one of the regions, the end is 1."""
        catalog.write_text("sources: {a: {args: {urlpath: s3://unheard-of/a}}}")
        assert main(["catalog", "tag", str(catalog)]) == 1
        assert "a: unknown (nobody knows)" in capsys.readouterr().out

    def test_credentials_are_not_echoed(
        self, catalog: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Neither command shows what is secret in a catalog's URLs."""
        catalog.write_text(
            "sources:\n  a: {args: {urlpath: 's3://key:hush@bucket/a'}}\n"
            "  b: {args: {urlpath: 'https://me:hu/sh@host.org/b?sig=hush'}}\n"
            "  c: {driver: yaml_file_cat, args: {path: 'https://me:hush@host.org/c.yaml'}}\n"
        )
        for command in ("tag", "check"):
            for form in ([], ["--json"]):
                main(["catalog", command, str(catalog), *form])
        shown = capsys.readouterr()
        assert "bucket" in shown.out
        assert "hu" not in shown.out + shown.err


class TestEndpoints:
    def test_none(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Without endpoints there is nothing to reach, and the end is 1."""
        assert main(["endpoints"]) == 1
        assert capsys.readouterr().out == "no endpoint is configured\n"

    def test_reachable_and_not(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Each endpoint is asked; one that does not answer is told, and the end is 1."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            nobody = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with LocalCluster(
            n_workers=0, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0"
        ) as cluster:
            endpoints = {"aws:us-west-2": cluster.scheduler_address}
            with dask.config.set({"locality.endpoints": endpoints}):
                assert main(["endpoints"]) == 0
            shown = capsys.readouterr().out
            assert f"distributed {metadata.version('distributed')}" in shown
            endpoints["gcp:us-central1"] = nobody
            with dask.config.set({"locality.endpoints": endpoints}):
                assert main(["endpoints", "--json"]) == 1
        west, iowa = json.loads(capsys.readouterr().out)
        assert (west["reachable"], west["problem"], west["clusters"]) == (True, None, None)
        assert west["versions"]["dask"] == metadata.version("dask")
        assert iowa["reachable"] is False
        assert nobody in iowa["problem"]

    @pytest.mark.gateway
    def test_gateways(self, testbed: Testbed, capsys: pytest.CaptureFixture[str]) -> None:
        """Of a gateway the server's version and the running clusters are told."""
        endpoints = testbed.endpoints(minimum=0, maximum=1)
        with Session(endpoints):
            assert main(["endpoints", "--json"]) == 0
        for each in json.loads(capsys.readouterr().out):
            assert each["reachable"]
            assert each["clusters"] == []
            server = metadata.version("dask-gateway-server")
            assert each["versions"] == {"dask-gateway-server": server}
