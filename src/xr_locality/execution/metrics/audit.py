"""The audit log: one line of JSON for each run, whatever becomes of it.

Who computed what where, what was predicted to cross between regions, what did, and what that
costs: no data, no secrets, and no URL with credentials.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import logging
import os
import secrets
import socket
import threading
import time
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeAlias

from xr_locality.config import Settings
from xr_locality.errors import ConfigurationError, LocalityError, LocalityWarning
from xr_locality.placement.costs import CostModel
from xr_locality.plan.model import Moved, PlanRecord
from xr_locality.regions.region import Region
from xr_locality.regions.store import without_secrets
from xr_locality.runtime.timeouts import timeouts

__all__ = ["Audit"]

logger = logging.getLogger(__name__)

#: Sources of a run that are listed; the others are counted.
_MOST_SOURCES: Final = 100

#: Readable by its owner alone; an administrator makes a shared file beforehand.
_MODE: Final = 0o600

_Record: TypeAlias = dict[str, Any]


class _Target(Protocol):
    """Where records go."""

    def prepare(self, name: str, record: _Record) -> None:
        """Raise if nothing could be written."""

    def write(self, name: str, record: _Record) -> None:
        """Keep the record of a run."""


@dataclass(frozen=True, slots=True)
class _File:
    """A file of this machine, a line for each run."""

    path: Path

    def prepare(self, name: str, record: _Record) -> None:
        os.close(self._open())

    def write(self, name: str, record: _Record) -> None:
        line = f"{json.dumps(record)}\n".encode()
        file = self._open()
        try:
            # One call: lines of processes that write at the same time do not mix.
            written = os.write(file, line)
        finally:
            os.close(file)
        if written < len(line):
            raise OSError(f"only {written} of {len(line)} bytes were written")

    def _open(self) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE)


@dataclass(frozen=True, slots=True)
class _Prefix:
    """A prefix in an object store, or wherever fsspec writes: an object for each run."""

    url: str

    def prepare(self, name: str, record: _Record) -> None:
        # Written over at the end of the run: after kill -9 this remains.
        self.write(name, record)

    def write(self, name: str, record: _Record) -> None:
        outcome: list[BaseException] = []

        def put() -> None:
            try:
                from fsspec.core import url_to_fs

                fs, path = url_to_fs(self.url, auto_mkdir=True)
                fs.pipe_file(f"{path.rstrip('/')}/{name}.json", f"{json.dumps(record)}\n".encode())
            except BaseException as error:  # noqa: BLE001 - raised below
                outcome.append(error)

        # A store that does not answer must not hold up the caller for ever.
        thread = threading.Thread(target=put, daemon=True, name="xr-locality audit")
        thread.start()
        thread.join(timeouts().audit_write)
        if thread.is_alive():
            raise TimeoutError(f"no answer within {timeouts().audit_write:g} seconds")
        if outcome:
            raise outcome[0]


@dataclass(slots=True)
class Audit:
    """The record of one run, written when the ``with`` block ends, however it ends.

    Parameters
    ----------
    settings : Settings
        The settings of the run, ``audit_log`` and ``audit_required`` among them.
    """

    settings: Settings
    #: What was decided, as soon as it is.
    plan: PlanRecord | None = None
    #: Whether the first task was sent.
    started: bool = False
    _clusters: dict[str, str] = field(default_factory=dict)
    _moved: dict[tuple[Region, Region], int] = field(default_factory=dict)
    _began: datetime = field(default_factory=lambda: datetime.now(UTC))
    _clock: float = field(default_factory=time.monotonic)
    _id: str = field(default_factory=lambda: secrets.token_hex(8))

    def opened(self, clusters: Mapping[Region, str]) -> None:
        """Note the clusters of the run, by name or by the scheduler's address."""
        self._clusters.update({str(region): name for region, name in clusters.items()})

    def moved(self, moved: Moved) -> None:
        """Note bytes that have crossed between regions."""
        for pair, nbytes in moved.items():
            self._moved[pair] = self._moved.get(pair, 0) + nbytes

    def __enter__(self) -> Self:
        target = self._target
        if target is not None and self.settings.audit_required:
            try:
                target.prepare(self._name, self._record("started", None))
            except Exception as error:  # noqa: BLE001 - a storage library may raise anything
                raise ConfigurationError(
                    f"The audit log {self._shown} cannot be written to "
                    f"({type(error).__name__}), and audit_required is set: nothing was started. "
                    "See that it may be written to, or ask your administrator.",
                    key="audit_log",
                ) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        target = self._target
        if target is None:
            return
        try:
            target.write(self._name, self._record(self._outcome(error), error))
        except Exception as failure:  # noqa: BLE001 - a storage library may raise anything
            message = (
                f"The audit log {self._shown} was not written ({type(failure).__name__}). "
                "The run itself is not affected."
            )
            if error is not None:
                # A warning may be an error, and would hide the one that is on its way.
                logger.warning("%s", message)
            else:
                warnings.warn(message, LocalityWarning, stacklevel=2)

    @property
    def _target(self) -> _Target | None:
        text = self.settings.audit_log
        if text is None:
            return None
        expanded = os.path.expandvars(text)
        return _Prefix(expanded) if "://" in text else _File(Path(expanded).expanduser())

    @property
    def _shown(self) -> str:
        return repr(without_secrets(self.settings.audit_log or ""))

    @property
    def _name(self) -> str:
        return f"{self._began:%Y-%m-%dT%H-%M-%SZ}-{self._id}"

    def _outcome(self, error: BaseException | None) -> str:
        if error is None:
            return "success"
        if isinstance(error, KeyboardInterrupt | CancelledError | asyncio.CancelledError):
            return "interrupted"
        if isinstance(error, LocalityError) and not self.started:
            return "refused"
        return "failed"

    def _record(self, outcome: str, error: BaseException | None) -> _Record:
        settings, plan = self.settings, self.plan
        costs = CostModel(settings.prices, links=settings.links) if plan is None else plan.costs
        predicted = getattr(error, "moved", ()) if plan is None else plan.moved
        return {
            "time": self._began.isoformat(timespec="milliseconds"),
            "run": self._id,
            "user": _user(),
            "host": socket.gethostname(),
            "version": metadata.version("xr-locality"),
            "outcome": outcome,
            "error": None if error is None else type(error).__name__,
            "errors": [type(each).__name__ for each in getattr(error, "exceptions", ())],
            "seconds": round(time.monotonic() - self._clock, 3),
            "objective": settings.objective,
            "transfer": settings.transfer,
            "max_egress": settings.max_egress,
            "client_region": settings.client_region,
            "regions": [] if plan is None else [str(region) for region in plan.regions],
            "clusters": self._clusters,
            "sources": [] if plan is None else _sources(plan),
            "n_sources": 0 if plan is None else len(plan.sources),
            "predicted": _moves(predicted, costs),
            "measured": _moves(self._moved, costs),
        }


def _user() -> str:
    try:
        # On a hub all are the same user of the system.
        return os.environ.get("JUPYTERHUB_USER") or getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _sources(plan: PlanRecord) -> list[dict[str, str | None]]:
    return [
        {
            "url": without_secrets(source.url),
            "region": None if source.region is None else str(source.region),
        }
        for source in plan.sources[:_MOST_SOURCES]
    ]


def _moves(moved: Moved | Iterable[tuple[str, str, int]], costs: CostModel) -> dict[str, Any]:
    if isinstance(moved, Mapping):
        moved = [(str(source), str(target), n) for (source, target), n in sorted(moved.items())]
    pairs = [
        {
            "from": source,
            "to": target,
            "nbytes": nbytes,
            "usd": costs.usd(Region.parse(source), Region.parse(target), nbytes),
        }
        for source, target, nbytes in moved
    ]
    return {
        "nbytes": sum(each["nbytes"] for each in pairs),
        "usd": sum(each["usd"] for each in pairs),
        "moves": pairs,
    }
