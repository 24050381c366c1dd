"""The whole demonstration, on real gateways, in processes of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from support.polling import patience, until

PATIENCE_SECONDS = patience(60)
ANSWER = "and as one number: 2.08 K"

pytestmark = [pytest.mark.gateway, pytest.mark.slow]


def processes_of(directory: Path) -> list[psutil.Process]:
    """List the processes that know a directory, as those with temporary files in it do."""
    found = []
    for process in psutil.process_iter():
        try:
            known = [*process.environ().values(), *process.cmdline()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if any(str(directory) in each for each in known):
            found.append(process)
    return found


class Demo:
    """A running ``xr-locality demo`` of a small size, whose output is read as it comes."""

    def __init__(self, directory: Path, *arguments: str, **environ: str) -> None:
        self.directory = directory
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "xr_locality", "demo", "--size", "1", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Its temporary files, the servers' among them, lie where no other's do.
            env={**psutil.Process().environ(), "TMPDIR": str(directory), **environ},
        )

    def read_to(self, text: str) -> None:
        """Read lines up to the one that holds a text."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))
            if text in line:
                return
        pytest.fail(f"{text!r} was not printed. {self._process.communicate()}")

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and the standard error."""
        out, err = self._process.communicate(timeout=PATIENCE_SECONDS)
        self.lines += out.splitlines()
        return self._process.returncode, err

    def is_gone(self) -> bool:
        """Say whether, soon, no process and no file of it is left."""
        ended = until(lambda: not processes_of(self.directory), seconds=60)
        return ended and not any(self.directory.iterdir())

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    """Return a function that starts the demonstration; it is killed at the end."""
    started: list[Demo] = []

    def start(*arguments: str, **environ: str) -> Demo:
        started.append(Demo(tmp_path, *arguments, **environ))
        return started[-1]

    yield start
    for demo in started:
        demo.kill()


def test_shows_what_it_promises(start: Callable[..., Demo]) -> None:
    """Plan, progress, both answers, who read what and both ways are shown; nothing is left."""
    demo = start()
    code, err = demo.end()
    assert code == 0, err
    assert demo.is_gone()
    text = "\n".join(demo.lines)

    assert 'warmer = a1b.mean("time") - e1.mean("time")' in demo.lines
    assert text.count("Plan: 2 regions, 1 boundary value") == 2
    assert text.count("Report: ") == 2
    assert ANSWER in text
    assert "Both answers are the same, bit by bit." in demo.lines
    assert re.search(r"(?m)^ratio +\d+ x", text)
    assert re.findall(r"(?m)^(aws:us-west-2|gcp:us-central1) +0$", text) == [
        "aws:us-west-2",
        "gcp:us-central1",
    ]
    # Chunks, and who read them: first those beside them, then this machine.
    reads = re.findall(r"(?m)^(\w+:[\w-]+) +(\S+) +[\d.]+ MiB$", text)
    assert reads == [
        ("aws:us-west-2", "aws:us-west-2"),
        ("gcp:us-central1", "gcp:us-central1"),
        ("aws:us-west-2", "local"),
        ("gcp:us-central1", "local"),
    ]
    # The bars, and not a single warning.
    assert re.search(r"aws:us-west-2 .*\d+/\d+ tasks", err)
    assert "arn" not in err


def test_keep(start: Callable[..., Demo]) -> None:
    """The code that is printed gives the answer in another process; Ctrl-C ends all, with 0."""
    demo = start("--keep", "--no-progress")
    demo.read_to("Press Ctrl-C to end them")
    shown = "\n".join(demo.lines)
    lines = shown[shown.index("import dask") : shown.index("\nThe regions are up")]
    other = subprocess.run(
        [sys.executable, "-c", lines],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert other.returncode == 0, other.stderr
    assert "Plan: 2 regions" in other.stdout
    assert re.search(r"average +float32 4B 2\.08", other.stdout)

    demo.interrupt()
    assert demo.end() == (0, "")
    assert demo.is_gone()


@pytest.mark.parametrize(
    "line",
    ["Generated and written", "warming = warming.locality.compute()"],
    ids=["servers", "clusters"],
)
def test_interrupted(start: Callable[..., Demo], line: str) -> None:
    """Ctrl-C on the way ends with 130 and one line, and leaves nothing."""
    demo = start("--no-progress")
    demo.read_to(line)
    if "compute" in line:
        assert until(
            lambda: any("worker" in each.cmdline() for each in processes_of(demo.directory)),
            seconds=60,
        )
    demo.interrupt()
    assert demo.end() == (130, "xr-locality: interrupted\n")
    assert demo.is_gone()


def test_server_that_does_not_start(start: Callable[..., Demo], tmp_path: Path) -> None:
    """An error of the library's ends with 1 and its message, and leaves nothing."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "moto.py").write_text("raise RuntimeError('moto is broken today')")
    demo = start("--no-progress", PYTHONPATH=str(broken))
    code, err = demo.end()
    assert code == 1
    assert err.startswith("xr-locality: error: The object server of 'aws:us-west-2' ended")
    assert "Traceback" not in err.partition("\n")[0]
    assert "moto is broken today" in err
    assert until(lambda: not processes_of(tmp_path), seconds=60)
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]
