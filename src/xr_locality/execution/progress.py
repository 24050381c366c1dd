"""Events for those who watch a run, and progress bars built on them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self, TypeAlias

from dask.utils import format_bytes

from xr_locality.errors import MissingDependencyError
from xr_locality.regions.model import Region

__all__ = ["Bars", "Callback", "Progress", "watch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Something that happened in a run.

    Attributes
    ----------
    run : str
        The run.
    what : {"starting", "submitted", "progress", "moved", "finished", "failed"}
        What happened.
    facts : mapping
        ``region``, ``endpoint``, ``doing``, ``seconds`` and ``deadline_seconds`` while a
        region is being opened, before the run has a name; ``region`` and ``tasks`` (and
        ``done``) for the next two, ``source``, ``target`` and ``nbytes`` for what moved,
        ``seconds`` or ``error`` at the end.
    """

    run: str
    what: str
    facts: Mapping[str, Any] = field(default_factory=dict)


#: Takes events of a run, on the event loop's thread: it must return at once.
Callback: TypeAlias = Callable[[Progress], None]


@dataclass(slots=True)
class Bars(AbstractContextManager["Bars"]):
    """A bar for each region and one for the bytes that cross, drawn by rich.

    Parameters
    ----------
    expected_nbytes : int
        Bytes that the plan says will cross.
    """

    expected_nbytes: int
    _progress: Any = None
    _bars: dict[Any, Any] = field(default_factory=dict)
    _totals: dict[Region, int] = field(default_factory=dict)

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._progress = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[shown]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._progress.start()
        return self

    def __call__(self, event: Progress) -> None:
        """Draw one event."""
        facts = event.facts
        if event.what in ("submitted", "progress"):
            self._draw_tasks(facts["region"], facts.get("done", 0), facts["tasks"])
        elif event.what == "moved":
            moved = self._bars.setdefault("nbytes", 0) + facts["nbytes"]
            self._bars["nbytes"] = moved
            total = max(self.expected_nbytes, moved)
            self._draw("crossing", "between regions", moved, total, format_bytes(moved))
        elif event.what == "finished":
            for bar in self._progress.tasks:
                self._progress.update(bar.id, completed=bar.total)
            for region, total in self._totals.items():
                # The last look at it may have come before its last task ended.
                self._draw_tasks(region, total, total)

    def _draw_tasks(self, region: Region, done: int, total: int | None) -> None:
        # Until a scheduler has made a symbolic graph, nobody knows how many.
        if total is not None:
            self._totals[region] = total
        shown = f"{done} tasks" if total is None else f"{done}/{total} tasks"
        self._draw(region, str(region), done, total, shown)

    def _draw(
        self, name: Region | str, title: str, done: int, total: int | None, shown: str
    ) -> None:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(title, total=total, shown=shown)
        self._progress.update(self._bars[name], completed=done, total=total, shown=shown)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()


def watch(wanted: bool | None, *, expected_nbytes: int) -> Bars | None:
    """Make progress bars where they are wanted.

    Parameters
    ----------
    wanted : bool or None
        None draws them where a person is watching: on a terminal, with rich there.
    expected_nbytes : int
        Bytes that the plan says will cross.

    Raises
    ------
    MissingDependencyError
        If they are wanted and rich is not installed.
    """
    installed = find_spec("rich") is not None
    if wanted is None:
        wanted = installed and sys.stderr.isatty()
    if not wanted:
        return None
    if not installed:
        raise MissingDependencyError(
            "Progress bars need rich, which is not installed. Run: pip install "
            "'xr-locality[progress]', or set progress to false.",
            extra="progress",
        )
    return Bars(expected_nbytes)
