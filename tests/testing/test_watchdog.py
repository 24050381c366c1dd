"""The watchdog ends the processes of its testbed, and no other."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from xr_locality.testing import watchdog


@pytest.fixture
def marker() -> str:
    """Mark the processes of a testbed that is not there."""
    return secrets.token_hex(8)


@pytest.fixture
def sleepers(marker: str) -> Iterator[tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]]:
    """One process of the testbed and one of another, each in a session of its own."""
    with ExitStack() as stack:
        started = []
        for value in (marker, "another"):
            process = subprocess.Popen(
                ["sleep", "60"],
                env={**os.environ, watchdog.MARKER_VARIABLE: value},
                start_new_session=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            started.append(process)
        yield started[0], started[1]


def test_ends_only_marked_processes(
    marker: str,
    sleepers: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    """Cleaning up kills what carries the marker, and removes the directory."""
    mine, other = sleepers
    directory = tmp_path / "testbed"
    (directory / "region").mkdir(parents=True)
    assert [process.pid for process in watchdog.marked_processes(marker)] == [mine.pid]
    watchdog.clean_up(marker, directory=directory)
    assert mine.wait(10) < 0
    assert other.poll() is None
    assert not directory.exists()
    assert tmp_path.exists()


def test_cleaning_up_twice_does_nothing(marker: str, tmp_path: Path) -> None:
    """With no process and no directory left there is nothing to do."""
    watchdog.clean_up(marker, directory=tmp_path / "gone")
    watchdog.clean_up(marker, directory=None)


@pytest.mark.parametrize("owner", ["alive", "gone"])
def test_script_waits_for_its_owner(
    owner: str, marker: str, sleepers: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]
) -> None:
    """The script cleans up once its pipe closes, or its owner is another than it was told."""
    mine, other = sleepers
    told = os.getpid() if owner == "alive" else other.pid
    script = subprocess.Popen(
        [sys.executable, "-P", watchdog.__file__, str(told), marker], stdin=subprocess.PIPE
    )
    with script:
        assert script.stdin is not None
        if owner == "alive":
            assert mine.poll() is None
            script.stdin.close()
        # With the pipe still open, in the other case: a forked child may hold it.
        assert script.wait(10) == 0
    assert mine.wait(10) < 0
    assert other.poll() is None
