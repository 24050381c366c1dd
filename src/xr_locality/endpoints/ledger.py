"""A ledger of the clusters that were asked for on this user's behalf, a file each.

A file is written before a cluster is asked for and removed when the cluster has been
stopped. What is left when its process has gone tells of a cluster that may still run
and cost money. A file names a gateway, a cluster and a process, nothing secret.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import secrets
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final

import psutil

from xr_locality.runtime.timeouts import timeouts
from xr_locality.runtime.user_files import state_directory, write_whole

__all__ = ["Entry", "Ledger", "Note", "Owner"]

logger = logging.getLogger(__name__)

_VERSION: Final = 1
_MOST_FILE_NBYTES: Final = 16_384


class Owner(Enum):
    """What has become of the process that asked for a cluster."""

    ALIVE = "alive"
    GONE = "gone"
    #: It runs or ran on another machine, which is not asked.
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A cluster that was asked for.

    Attributes
    ----------
    region : str
        The region that its gateway serves.
    gateway : str
        The gateway's address.
    cluster : str or None
        Its name; None where it was asked for and nobody has heard the name.
    asked : float
        When, in seconds since 1970.
    pid : int
        The process that asked.
    process_started : float
        When that process was started: numbers of processes are used again.
    host : str
        The machine that it ran on.
    """

    region: str
    gateway: str
    cluster: str | None
    asked: float
    pid: int
    process_started: float
    host: str

    @property
    def owner(self) -> Owner:
        """What has become of the process."""
        if self.host != platform.node():
            return Owner.ELSEWHERE
        try:
            started = psutil.Process(self.pid).create_time()
        except psutil.NoSuchProcess:
            return Owner.GONE
        except psutil.Error:
            return Owner.ALIVE
        same = abs(started - self.process_started) < timeouts().ledger_clock
        return Owner.ALIVE if same else Owner.GONE


class Ledger:
    """Where clusters are noted.

    Parameters
    ----------
    directory : Path or None
        Holds a file for each; made when first needed. None notes nothing.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    @classmethod
    def of_user(cls, directory: str | None) -> Ledger:
        """Get the ledger in a directory, by default in the user's for programs' state."""
        base = state_directory() if directory is None else Path(directory).expanduser()
        return cls(None if base is None else base / "clusters")

    def note(self, *, region: str, gateway: str) -> Note:
        """Note that a cluster is about to be asked for.

        Where that cannot be written the cluster is started nevertheless.

        Parameters
        ----------
        region, gateway : str
            The region; the address of the gateway that serves it.
        """
        entry = Entry(
            region=region,
            gateway=gateway,
            cluster=None,
            asked=time.time(),
            pid=os.getpid(),
            process_started=psutil.Process().create_time(),
            host=platform.node(),
        )
        if self._directory is None:
            return Note(None, entry)
        note = Note(self._directory / f"{secrets.token_hex(8)}.json", entry)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            note.write()
        except OSError as error:
            logger.warning(
                "The cluster in %s is not noted for `xr-locality clusters`: %s", region, error
            )
            return Note(None, entry)
        return note

    def notes(self) -> list[Note]:
        """Read what is noted, the oldest first; files that make no sense are passed over."""
        found = []
        for path in [] if self._directory is None else sorted(self._directory.glob("*.json")):
            entry = _read(path)
            if entry is not None:
                found.append(Note(path, entry))
        return sorted(found, key=lambda each: each.entry.asked)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ledger) and self._directory == other._directory

    def __hash__(self) -> int:
        return hash(self._directory)


class Note:
    """One line of the ledger.

    Parameters
    ----------
    path : Path or None
        Its file; None where there is none.
    entry : Entry
        What it says.
    """

    def __init__(self, path: Path | None, entry: Entry) -> None:
        self._path = path
        self.entry = entry

    def name(self, cluster: str) -> None:
        """Add the name that the gateway has given to the cluster."""
        self.entry = replace(self.entry, cluster=cluster)
        try:
            self.write()
        except OSError as error:
            logger.warning("The name of cluster %s is not noted: %s", cluster, error)

    def write(self) -> None:
        """Write the file, as a whole or not at all."""
        if self._path is not None:
            write_whole(self._path, json.dumps({"version": _VERSION, **asdict(self.entry)}))

    def strike(self) -> None:
        """Take it out: the cluster has been stopped, or never was."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)


def _read(path: Path) -> Entry | None:
    try:
        if path.stat().st_size > _MOST_FILE_NBYTES:
            return None
        content: Any = json.loads(path.read_text("utf-8"))
        if content.pop("version") != _VERSION:
            return None
        entry = Entry(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.info("Passing over %s: %r", path, error)
        return None
    right = all(isinstance(getattr(entry, name), kind) for name, kind in _KINDS.items())
    return entry if right else None


_KINDS: Final[dict[str, Any]] = {
    "region": str,
    "gateway": str,
    "cluster": str | None,
    "asked": int | float,
    "pid": int,
    "process_started": int | float,
    "host": str,
}
