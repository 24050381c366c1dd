"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata

import dask
import pytest

from xr_locality.cli import COMMANDS, Command, main
from xr_locality.errors import EndpointError, LocalityErrorGroup


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "xr_locality", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
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
