"""Progress bars for regions and crossings, drawn by rich on terminals and in notebooks."""

from __future__ import annotations

import importlib
import io
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from dask.utils import format_bytes

from xr_locality.errors import MissingDependencyError
from xr_locality.execution.progress import Progress
from xr_locality.plan.model import PlanRecord
from xr_locality.regions.region import Region

__all__ = ["Bars", "NotebookBars", "expected_crossings", "watch"]

#: Seconds between two pictures in a notebook.
_REDRAW_SECONDS: Final = 0.2

#: Columns of a picture in a notebook.
_COLUMNS: Final = 100

_PICTURE: Final = (
    '<pre style="margin:0;background:none;color:inherit;white-space:pre;overflow-x:auto;'
    'line-height:normal;font-family:var(--jp-code-font-family, monospace)">{code}</pre>'
)


@dataclass(slots=True)
class Bars(AbstractContextManager["Bars"]):
    """A bar for each region and one for each crossing, on a terminal.

    Parameters
    ----------
    expected : mapping of (Region, Region) to int
        Bytes that the plan says will cross.
    """

    expected: Mapping[tuple[Region, Region], int]
    _progress: Any = None
    _bars: dict[Any, Any] = field(default_factory=dict)
    _totals: dict[Region, int] = field(default_factory=dict)
    _moved: dict[tuple[Region, Region], int] = field(default_factory=dict)

    #: Whether rich draws by itself, on a thread of its own.
    live: ClassVar[bool] = True

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._progress = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[shown]}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True) if self.live else Console(file=io.StringIO()),
            auto_refresh=self.live,
        )
        if self.live:
            self._progress.start()
        return self

    def __call__(self, event: Progress) -> None:
        """Draw one event."""
        facts = event.facts
        match event.what:
            case "opening":
                self._draw(facts["region"], str(facts["region"]), 0, None, "starting")
            case "starting":
                self._draw_starting(**facts)
            case "lost":
                self._draw(facts["region"], str(facts["region"]), 0, None, "lost, looked for")
            case "opened" | "reopened":
                self._draw(facts["region"], str(facts["region"]), 0, None, "ready")
            case "submitted" | "progress":
                self._draw_tasks(facts["region"], facts.get("done", 0), facts["tasks"])
                if event.what == "submitted":
                    self._expect(facts["region"])
            case "moved":
                pair = facts["source"], facts["target"]
                self._moved[pair] = self._moved.get(pair, 0) + facts["nbytes"]
                self._draw_crossing(pair)
            case "relayed":
                # Other pairs take their place.
                for pair in [each for each in self._bars if isinstance(each, tuple)]:
                    self._progress.remove_task(self._bars.pop(pair))
                self._moved.clear()
                self.expected = {}
            case "finished":
                self._finish()

    def _draw_starting(
        self, *, region: Region, doing: str, seconds: float, deadline_seconds: float, **_: Any
    ) -> None:
        # What is too long for the line is cut off at its end.
        waited = f"starting, {seconds:.0f} s of at most {deadline_seconds:.0f} s"
        self._draw(region, str(region), 0, None, f"{waited}: {doing}")

    def _expect(self, region: Region) -> None:
        """Show the crossings out of a region that has something to do now."""
        for pair in self.expected:
            if pair[0] == region and pair not in self._bars:
                self._draw_crossing(pair)

    def _finish(self) -> None:
        for region, total in self._totals.items():
            # The last look at it may have come before its last task ended.
            self._draw_tasks(region, total, total)
        for pair in self._moved:
            self._draw_crossing(pair, total=self._moved[pair])
        for bar in self._progress.tasks:
            total = bar.completed if bar.total is None else bar.total
            self._progress.update(bar.id, completed=total, total=total)

    def _draw_tasks(self, region: Region, done: int, total: int | None) -> None:
        # The number of tasks is unknown until the scheduler has expanded a symbolic graph.
        if total is not None:
            self._totals[region] = total
        shown = f"{done} tasks" if total is None else f"{done}/{total} tasks"
        self._draw(region, str(region), done, total, shown)

    def _draw_crossing(self, pair: tuple[Region, Region], *, total: int | None = None) -> None:
        moved, expected = self._moved.get(pair, 0), self.expected.get(pair)
        shown = format_bytes(moved)
        if expected is not None:
            shown += f" of {format_bytes(expected)} predicted"
        if total is None:
            total = None if expected is None else max(expected, moved)
        self._draw(pair, f"{pair[0]} → {pair[1]}", moved, total, shown)

    def _draw(self, name: Any, title: str, done: int, total: int | None, shown: str) -> None:
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


@dataclass(slots=True)
class NotebookBars(Bars):
    """The same bars as a picture under a notebook's cell; no widgets are needed.

    Parameters
    ----------
    expected : mapping of (Region, Region) to int
        Bytes that the plan says will cross.
    """

    _display: Any = None
    _drawn: float = 0.0

    live: ClassVar[bool] = False

    def __enter__(self) -> Self:
        Bars.__enter__(self)
        # Only a notebook has it.
        display: Any = importlib.import_module("IPython.display").display
        # Shown in the cell's own context; a picture is changed from any.
        self._display = display(self._picture(), raw=True, display_id=True)
        return self

    def __call__(self, event: Progress) -> None:
        """Draw one event, unless a picture was drawn just now."""
        Bars.__call__(self, event)
        now = time.monotonic()
        if now - self._drawn >= _REDRAW_SECONDS:
            self._drawn = now
            self._display.update(self._picture(), raw=True)

    def _picture(self) -> dict[str, str]:
        from rich.console import Console

        console = Console(
            file=io.StringIO(),
            record=True,
            width=_COLUMNS,
            force_terminal=True,
            force_jupyter=False,
            color_system="truecolor",
        )
        console.print(self._progress.get_renderable())
        text = console.export_text(clear=False)
        html = console.export_html(inline_styles=True, code_format=_PICTURE)
        return {"text/plain": text, "text/html": html}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        Bars.__exit__(self, kind, error, traceback)
        self._display.update(self._picture(), raw=True)


def expected_crossings(plan: PlanRecord) -> dict[tuple[Region, Region], int]:
    """Sum the bytes of values that a plan has cross, by pair of regions.

    Stored bytes that workers read are left out: they are counted only after the run.
    """
    expected: dict[tuple[Region, Region], int] = {}
    for group in plan.transfers.groups:
        if group.why != "remote-read":
            pair = group.source, group.target
            expected[pair] = expected.get(pair, 0) + group.nbytes
    return dict(sorted(expected.items()))


def watch(wanted: bool | None, plan: PlanRecord) -> Bars | None:
    """Make progress bars where they are wanted.

    Parameters
    ----------
    wanted : bool or None
        None draws them where a person is watching, on a terminal or in a notebook, if rich
        is there.
    plan : PlanRecord
        What is about to run.

    Raises
    ------
    MissingDependencyError
        If they are wanted and rich is not installed.
    """
    installed = find_spec("rich") is not None
    notebook = _in_notebook()
    if wanted is None:
        wanted = installed and (notebook or sys.stderr.isatty())
    if not wanted:
        return None
    if not installed:
        raise MissingDependencyError(
            "Progress bars need rich, which is not installed. Run: pip install "
            "'xr-locality[progress]', or set progress to false.",
            extra="progress",
        )
    return (NotebookBars if notebook else Bars)(expected_crossings(plan))


def _in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None
