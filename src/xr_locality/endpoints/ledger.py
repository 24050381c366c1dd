"""Ledger of the clusters that this user's processes have started, one file each.

A file is written before a cluster is requested, and deleted when the cluster has been
stopped. A file whose process has ended belongs to a cluster that may still run and cost
money. A file names a gateway, a cluster and a process, nothing secret.
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

__all__ = ["Ledger", "LedgerEntry", "LedgerRecord", "Owner"]

logger = logging.getLogger(__name__)

_VERSION: Final = 1
_MOST_FILE_NBYTES: Final = 16_384


class Owner(Enum):
    """State of the process that started a cluster."""

    ALIVE = "alive"
    GONE = "gone"
    #: The process is or was on another machine, which is not asked.
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """A cluster that was requested from a gateway.

    Attributes
    ----------
    region : str
        The region that its gateway serves.
    gateway : str
        The gateway's address.
    cluster : str or None
        Its name; None until the gateway has named it.
    asked : float
        Time of the request, in seconds since 1970.
    pid : int
        The process that sent the request.
    process_started : float
        Start time of that process, in seconds since 1970: process numbers are reused.
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
        """State of the process."""
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
    """Folder of the records of started clusters.

    Parameters
    ----------
    directory : Path or None
        Holds a file for each cluster; created when first needed. None records nothing.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    @classmethod
    def of_user(cls, directory: str | None) -> Ledger:
        """Get the ledger in a directory, by default the user's state directory."""
        base = state_directory() if directory is None else Path(directory).expanduser()
        return cls(None if base is None else base / "clusters")

    def add(self, *, region: str, gateway: str) -> LedgerRecord:
        """Record that a cluster is about to be requested.

        A record that cannot be written is logged, and the cluster is started nevertheless.

        Parameters
        ----------
        region, gateway : str
            The region; the address of the gateway that serves it.
        """
        entry = LedgerEntry(
            region=region,
            gateway=gateway,
            cluster=None,
            asked=time.time(),
            pid=os.getpid(),
            process_started=psutil.Process().create_time(),
            host=platform.node(),
        )
        if self._directory is None:
            return LedgerRecord(None, entry)
        record = LedgerRecord(self._directory / f"{secrets.token_hex(8)}.json", entry)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            record.write()
        except OSError as error:
            logger.warning(
                "The cluster in %s is not recorded for `xr-locality clusters`: %s", region, error
            )
            return LedgerRecord(None, entry)
        return record

    def records(self) -> list[LedgerRecord]:
        """Read the records, the oldest first; skip malformed files."""
        found = []
        for path in [] if self._directory is None else sorted(self._directory.glob("*.json")):
            entry = _read(path)
            if entry is not None:
                found.append(LedgerRecord(path, entry))
        return sorted(found, key=lambda each: each.entry.asked)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ledger) and self._directory == other._directory

    def __hash__(self) -> int:
        return hash(self._directory)


class LedgerRecord:
    """Record of one cluster in the ledger.

    Parameters
    ----------
    path : Path or None
        Its file; None if it is not written.
    entry : LedgerEntry
        Its content.
    """

    def __init__(self, path: Path | None, entry: LedgerEntry) -> None:
        self._path = path
        self.entry = entry

    def set_cluster(self, cluster: str) -> None:
        """Add the name that the gateway has given to the cluster."""
        self.entry = replace(self.entry, cluster=cluster)
        try:
            self.write()
        except OSError as error:
            logger.warning("The name of cluster %s is not recorded: %s", cluster, error)

    def write(self) -> None:
        """Write the file atomically."""
        if self._path is not None:
            write_whole(self._path, json.dumps({"version": _VERSION, **asdict(self.entry)}))

    def delete(self) -> None:
        """Delete the file: the cluster has been stopped, or was never started."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)


def _read(path: Path) -> LedgerEntry | None:
    try:
        if path.stat().st_size > _MOST_FILE_NBYTES:
            return None
        content: Any = json.loads(path.read_text("utf-8"))
        if content.pop("version") != _VERSION:
            return None
        entry = LedgerEntry(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.info("Skipping %s: %r", path, error)
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
