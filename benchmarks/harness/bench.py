"""Measuring, and the page of what was measured, for the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.harness.measure import SECTIONS, measure
from benchmarks.harness.results import Results
from benchmarks.harness.results_page import render_report
from xr_locality.errors import ConfigurationError

__all__ = ["SECTIONS", "run_bench", "write_report"]


def run_bench(
    sections: Sequence[str], *, quick: bool, output: str, tell: Callable[[str], None]
) -> None:
    """Measure some sections, and keep the results in a file.

    Parameters
    ----------
    sections : sequence of str
        Names of :data:`SECTIONS`; all if empty.
    quick : bool
        Less data, and each way once.
    output : str
        The file, of JSON.
    tell : callable
        Is told of each result as it comes.

    Raises
    ------
    ConfigurationError
        If a section is not known, the file's directory is not there, or the emulated
        network cannot run here. Nothing has been measured then.
    """
    if not Path(output).absolute().parent.is_dir():
        raise ConfigurationError(f"{output!r} cannot be written: there is no such directory.")
    chosen = tuple(sections) or SECTIONS
    command = "xr-locality bench run"
    if chosen != SECTIONS:
        command += f" --only {','.join(chosen)}"
    if quick:
        command += " --quick"
    results = measure(
        chosen,
        quick=quick,
        command=f"{command} --output {Path(output).name}",
        tell=tell,
    )
    results.save(output)


def write_report(paths: Sequence[str], *, output: str) -> None:
    """Make a page of results.

    Parameters
    ----------
    paths : sequence of str
        Files that :func:`run_bench` wrote; the first one's machine is the page's.
    output : str
        The file, of HTML.

    Raises
    ------
    ConfigurationError
        If one of the files is not there, or holds something else.
    MissingDependencyError
        If matplotlib is not installed.
    """
    first, *others = map(Results.load, paths)
    together = Results(
        machine=first.machine,
        command="\n".join([first.command, *(each.command for each in others)]),
        read_bytes_per_second=max(each.read_bytes_per_second for each in (first, *others)),
        works=tuple(work for each in (first, *others) for work in each.works),
        scale=tuple(point for each in (first, *others) for point in each.scale),
    )
    Path(output).write_text(render_report(together), "utf-8")
