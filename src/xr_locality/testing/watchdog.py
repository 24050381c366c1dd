"""End all processes of a testbed, also when its owner was killed.

The processes of a gateway's clusters live in sessions of their own and outlive
the server that started them, so they are found by a variable that they inherit,
not by their parents.

Also run as a script, by path: it then waits until its owner closes the pipe, or
ends in whatever way, and cleans up.
"""

from __future__ import annotations

import os
import select
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

__all__ = ["MARKER_VARIABLE", "clean_up", "marked_processes"]

#: Environment variable that every process of a testbed inherits; its value says of which.
MARKER_VARIABLE: Final = "XR_LOCALITY_TESTBED"

# How often to look whether the owner still lives: a child that it forked may
# hold the pipe open after its death.
_OWNER_CHECK_SECONDS: Final = 1.0
_KILL_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.02


def marked_processes(marker: str) -> Iterator[psutil.Process]:
    """Find the living processes of a testbed.

    Parameters
    ----------
    marker : str
        The value of `MARKER_VARIABLE` that they carry.

    Yields
    ------
    psutil.Process
    """
    for process in psutil.process_iter():
        try:
            if (
                process.environ().get(MARKER_VARIABLE) == marker
                and process.status() != psutil.STATUS_ZOMBIE
                and process.pid != os.getpid()
            ):
                yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            # Ended meanwhile, or another user's: in either case not ours to end.
            continue


def clean_up(marker: str, *, directory: Path | None) -> None:
    """Kill all processes of a testbed and remove its directory.

    Parameters
    ----------
    marker : str
        The value of `MARKER_VARIABLE` that they carry.
    directory : Path or None
        Removed once no process writes to it any more; None to remove nothing.

    Raises
    ------
    TimeoutError
        If a process cannot be killed.
    """
    deadline = time.monotonic() + _KILL_SECONDS
    # A process between fork and exec does not carry the marker yet: only a
    # second empty look, a moment later, means that there are none.
    empty_looks = 0
    while empty_looks < 2:
        found = list(marked_processes(marker))
        for process in found:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        if found and time.monotonic() > deadline:
            listed = ", ".join(str(process.pid) for process in found)
            raise TimeoutError(f"Processes {listed} of a testbed cannot be killed.")
        empty_looks = 0 if found else empty_looks + 1
        time.sleep(_POLL_SECONDS)
    if directory is not None and directory.exists():
        shutil.rmtree(directory)


def _wait_for_end_of(owner: int) -> None:
    """Wait until the pipe at stdin says so or closes, or the owner is gone."""
    while os.getppid() == owner:
        readable, _, _ = select.select([sys.stdin], [], [], _OWNER_CHECK_SECONDS)
        if readable:
            return


def main() -> None:
    """Wait for the owner's end, then clean up after it."""
    owner, marker, *directory = sys.argv[1:]
    _wait_for_end_of(int(owner))
    clean_up(marker, directory=Path(directory[0]) if directory else None)


if __name__ == "__main__":
    main()
