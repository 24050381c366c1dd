"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata

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
