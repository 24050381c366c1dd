"""A page of what was measured: one file of HTML, with its plots inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from dask.utils import format_bytes

from benchmarks.harness.results import MeasuredResults, ScaleResult, WorkResult
from xr_locality.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["as_svg", "draw_scale", "draw_works", "lay_out_works", "render_report"]

#: Of each way, light enough for dark pages and dark enough for light ones.
_COLOURS: Final = {
    "local": "#888888",
    "best single region": "#d9903d",
    "split by hand": "#5b8fd6",
    "greedy forward": "#a678c9",
    "plan": "#2f9e6e",
}
_GREY: Final = "#888888"

_SECTIONS: Final = {
    "reductions": "Reductions of data in two regions",
    "notebook": "The notebook of 2020",
    "workloads": "Every workload by every way",
}

_STYLE: Final = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
td { font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; }
code, pre { background: #8882; border-radius: .25rem; padding: .1rem .3rem; }
pre { padding: .6rem; overflow-x: auto; }
.best { font-weight: 600; }
"""


def render_report(results: MeasuredResults) -> str:
    """Make the page.

    Parameters
    ----------
    results : MeasuredResults
        What was measured.

    Returns
    -------
    str
        HTML, whole.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    made = (
        f"Measured on {machine.date}: {machine.processor}, {machine.cores} cores, "
        f"{format_bytes(machine.memory_nbytes)} of memory, {machine.system}. With {versions}."
    )
    parts = [f"<p>{escape(made)}</p>"]
    if results.works:
        parts.append(
            "<p>The regions are network namespaces of this one machine, joined by an emulated "
            f"WAN; inside a region nothing is shaped. Its cores read "
            f"{results.read_bytes_per_second / 1e6:,.0f} MB/s of stored bytes in all, each region "
            "from beside it: no way to do the work can be faster than that.</p>"
        )
    for section, title in _SECTIONS.items():
        works = [work for work in results.works if work.section == section]
        if works:
            parts += [f"<h2>{title}</h2>", _image(draw_works(works)), _works_table(works)]
    if results.scale:
        parts += [
            "<h2>Placing large graphs</h2>",
            "<p>Synthetic graphs over the shipped tables of regions and prices; nothing runs.</p>",
            _image(draw_scale(results.scale)),
            _scale_table(results.scale),
        ]
    parts += ["<h2>Measure again</h2>", f"<pre>{escape(results.command)}</pre>"]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>xr-locality, measured</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<h1>Region against cross-region, measured</h1>\n{body}\n</body>\n</html>\n"
    )


def draw_works(works: Sequence[WorkResult]) -> Figure:
    """Draw seconds and bytes of each way of doing each piece of work, side by side."""
    figure = _figure(height=0.75 + 0.95 * len(works))
    seconds, nbytes = figure.subplots(1, 2, sharey=True)
    ways = list(works[0].ways)
    height = 0.8 / len(ways)
    for place, way in enumerate(ways):
        rows = [row + (place - (len(ways) - 1) / 2) * height for row in range(len(works))]
        took = [work.ways[way].seconds for work in works]
        moved = [work.ways[way].nbytes / 1e6 for work in works]
        seconds.barh(rows, took, height * 0.9, color=_COLOURS[way], label=way)
        nbytes.barh(rows, moved, height * 0.9, color=_COLOURS[way])
    for row, work in enumerate(works):
        bound = max(work.bound_nbytes / 1e6, 1e-4)
        nbytes.plot([bound, bound], [row - 0.42, row + 0.42], color=_GREY, linestyle=":")
    seconds.set_yticks(range(len(works)), [_wrapped(work.name) for work in works])
    seconds.invert_yaxis()
    seconds.set_xlabel("seconds, as the user waits")
    nbytes.set_xlabel("MB between regions; dotted: the least of any plan")
    nbytes.set_xscale("log")
    figure.legend(loc="outside upper center", ncols=len(ways), frameon=False)
    _style(figure)
    return figure


def draw_scale(scale: Sequence[ScaleResult]) -> Figure:
    """Draw what placing takes over the number of tasks: seconds and memory."""
    figure = _figure(height=3.4)
    seconds, memory = figure.subplots(1, 2)
    series: dict[tuple[str, int], list[ScaleResult]] = {}
    for each in scale:
        series.setdefault((each.shape, each.n_regions), []).append(each)
    for (shape, n_regions), points in sorted(series.items()):
        style = {"marker": "o", "linestyle": "-" if n_regions == 2 else "--"}
        tasks = [each.n_tasks for each in points]
        label = f"{shape}, {n_regions} regions"
        seconds.plot(tasks, [each.seconds for each in points], label=label, **style)
        memory.plot(tasks, [each.peak_nbytes / 1e6 for each in points], **style)
    for axes, title in ((seconds, "seconds to place"), (memory, "MB of memory to place")):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("tasks")
        axes.set_ylabel(title)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize="small")
    _style(figure)
    return figure


def lay_out_works(works: Iterable[WorkResult]) -> str:
    """Lay out seconds and bytes as a table in Markdown."""
    rows = list(works)
    ways = list(rows[0].ways) if rows else []
    lines = [
        "| work | " + " | ".join(ways) + " | the least |",
        "| --- | " + " | ".join("--:" for _ in ways) + " | --: |",
    ]
    for work in rows:
        cells = [
            f"{each.seconds:.1f} s, {format_bytes(each.nbytes)}" for each in work.ways.values()
        ]
        cells.append(format_bytes(work.bound_nbytes))
        lines.append(f"| {work.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _works_table(works: Sequence[WorkResult]) -> str:
    head = "".join(f"<th>{escape(way)}</th>" for way in works[0].ways)
    rows = []
    for work in works:
        fewest = min(way.nbytes for way in work.ways.values())
        cells = "".join(
            f"<td{' class=best' * (way.nbytes == fewest)}>{way.seconds:.1f} s<br>"
            f"{format_bytes(way.nbytes)}<br>{_usd(way.usd)}</td>"
            for way in work.ways.values()
        )
        rows.append(
            f'<tr><td title="{escape(work.description)}">{escape(work.name)}</td>{cells}'
            f"<td>{format_bytes(work.bound_nbytes)}</td>"
            f"<td>{format_bytes(work.planned_nbytes)}</td></tr>"
        )
    return (
        f"<table><tr><th>work</th>{head}<th>least of any plan</th><th>plan's values, counted</th>"
        f"</tr>{''.join(rows)}</table>"
    )


def _usd(usd: float) -> str:
    # What is measured here is small: a run costs parts of a cent.
    return f"{usd * 100:.2f} ¢" if usd < 1 else f"{usd:,.2f} USD"


def _scale_table(scale: Sequence[ScaleResult]) -> str:
    rows = "".join(
        f"<tr><td>{escape(each.shape)}</td><td>{each.n_regions}</td><td>{each.n_tasks:,}</td>"
        f"<td>{format_bytes(each.stored_nbytes)}</td><td>{each.seconds:.2f} s</td>"
        f"<td>{format_bytes(each.peak_nbytes)}</td><td>{each.gap:.1%}</td>"
        f"<td>{format_bytes(each.moved_nbytes)}</td><td>{format_bytes(each.alone_nbytes)}</td></tr>"
        for each in scale
    )
    return (
        "<table><tr><th>shape</th><th>regions</th><th>tasks</th><th>read</th><th>placed in</th>"
        "<th>memory</th><th>at most above the best</th><th>moved by the plan</th>"
        f"<th>in the best single region</th></tr>{rows}</table>"
    )


def _figure(*, height: float) -> Figure:
    if find_spec("matplotlib") is None:
        raise MissingDependencyError(
            "The page's plots need matplotlib. Run: pip install 'xr-locality[plot]'.", extra="plot"
        )
    from matplotlib.figure import Figure

    return Figure(figsize=(10, height), layout="constrained")


def _style(figure: Figure) -> None:
    """Make a plot readable on light and dark pages."""
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("bottom", "left"):
            axes.spines[side].set_color(_GREY)
        axes.tick_params(colors=_GREY, which="both")
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set_color(_GREY)
    for legend in figure.legends:
        for text in legend.get_texts():
            text.set_color(_GREY)


def _wrapped(name: str, *, width: int = 24) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(name, width))


def as_svg(figure: Figure) -> str:
    """Write a plot as SVG, the same each time."""
    drawn = io.BytesIO()
    arguments: dict[str, Any] = {"format": "svg", "metadata": {"Date": None}}
    figure.savefig(drawn, **arguments)
    return drawn.getvalue().decode()


def _image(figure: Figure) -> str:
    encoded = base64.b64encode(as_svg(figure).encode()).decode()
    return f'<img alt="plot" src="data:image/svg+xml;base64,{encoded}">'
