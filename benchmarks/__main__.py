"""Measurements and simulations, run from a checkout: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from dask.utils import parse_bytes

from benchmarks.harness.measure import SECTIONS, measure
from benchmarks.harness.results import MeasuredResults
from benchmarks.harness.results_page import render_report
from benchmarks.harness.simulation import SHAPES, cloud_regions, simulate
from benchmarks.harness.table import compare_workloads, lay_out
from xr_locality.config import Objective
from xr_locality.errors import ConfigurationError, LocalityError

__all__ = ["main"]

_PROGRAM = "python -m benchmarks"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        The exit code: 0, or 1 after an error of the library's.
    """
    given = _parser().parse_args(arguments)
    try:
        given.run(given)
    except LocalityError as error:
        print(f"{_PROGRAM}: error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_PROGRAM, description=__doc__)
    commands = parser.add_subparsers(metavar="command", required=True)

    run = commands.add_parser("run", help="measure on an emulated WAN (root on Linux)")
    run.set_defaults(run=_run)
    run.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=[],
        metavar="SECTIONS",
        help=f"some of {','.join(SECTIONS)} (default: all)",
    )
    run.add_argument("--quick", action="store_true", help="less data, and each way once")
    run.add_argument(
        "--output", default="results.json", metavar="FILE", help="default: %(default)s"
    )

    report = commands.add_parser("report", help="make an HTML page of results, with plots")
    report.set_defaults(run=_report)
    report.add_argument("results", nargs="+", metavar="FILE", help="that 'run' wrote")
    report.add_argument(
        "--output", default="report.html", metavar="FILE", help="default: %(default)s"
    )

    simulated = commands.add_parser("simulate", help="place a synthetic graph over many regions")
    simulated.set_defaults(run=_simulate)
    simulated.add_argument("--shape", choices=SHAPES, default="mask-and-difference")
    simulated.add_argument("--regions", type=_count, default=2, metavar="N")
    simulated.add_argument("--tasks", type=_count, default=100_000, metavar="N", help="about")
    simulated.add_argument(
        "--bytes",
        type=_nbytes,
        metavar="SIZE",
        help="stored bytes that it reads in all, such as '1 PB' (default: 100 MB a chunk)",
    )
    workloads = commands.add_parser("workloads", help="plan real analyses of declared data")
    workloads.set_defaults(run=_workloads)
    workloads.add_argument("--tasks", type=_count, default=20_000, metavar="N", help="of each")
    for each in (simulated, workloads):
        each.add_argument("--objective", choices=get_args(Objective), default="usd")
    return parser


def _run(given: argparse.Namespace) -> None:
    output = Path(given.output)
    if not output.absolute().parent.is_dir():
        raise ConfigurationError(f"{given.output!r} cannot be written: there is no such directory.")
    chosen = tuple(given.only) or SECTIONS
    command = [_PROGRAM, "run"]
    if chosen != SECTIONS:
        command += ["--only", ",".join(chosen)]
    if given.quick:
        command.append("--quick")
    command += ["--output", output.name]
    results = measure(
        chosen,
        quick=given.quick,
        command=" ".join(command),
        report=lambda text: print(text, flush=True),
    )
    results.save(output)


def _report(given: argparse.Namespace) -> None:
    loaded = [MeasuredResults.load(path) for path in given.results]
    # The machine on the page is that of the first file.
    together = replace(
        loaded[0],
        command="\n".join(each.command for each in loaded),
        read_bytes_per_second=max(each.read_bytes_per_second for each in loaded),
        works=tuple(work for each in loaded for work in each.works),
        scale=tuple(point for each in loaded for point in each.scale),
    )
    Path(given.output).write_text(render_report(together), "utf-8")
    print(f"wrote {given.output}")


def _simulate(given: argparse.Namespace) -> None:
    graph = SHAPES[given.shape](given.tasks, cloud_regions(given.regions))
    if given.bytes is not None:
        graph.grow(given.bytes)
    print(simulate(graph, objective=given.objective))


def _workloads(given: argparse.Namespace) -> None:
    print(lay_out(compare_workloads(n_tasks=given.tasks, objective=given.objective)))


def _count(text: str) -> int:
    """Read a whole number above zero, also one written as ``1e5``."""
    number = int(float(text))
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not above zero")
    return number


def _nbytes(text: str) -> int:
    """Read a size such as ``1 PB``, in bytes."""
    nbytes = int(parse_bytes(text))
    if nbytes < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not above zero")
    return nbytes


if __name__ == "__main__":
    sys.exit(main())
