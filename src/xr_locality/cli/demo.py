"""``demo``, ``simulate``, ``workloads`` and ``bench``: what splitting gains, shown."""

from __future__ import annotations

import argparse
from typing import Final

from xr_locality.cli.command import Command
from xr_locality.cli.options import add_objective, count, megabytes, nbytes

__all__ = ["BENCH_REPORT", "BENCH_RUN", "DEMO", "SIMULATE", "WORKLOADS"]


def _add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave the regions up until Ctrl-C, and print the code to connect to them",
    )
    parser.add_argument("--no-progress", action="store_true", help="draw no progress bars")
    parser.add_argument(
        "--size",
        type=megabytes,
        default=200,
        metavar="MB",
        help="generate at least this many MB of daily data in each region (default: 200)",
    )


def _run_demo(given: argparse.Namespace) -> None:
    from xr_locality.demo.requirements import check_installed

    check_installed()
    from xr_locality.demo.demonstration import run_demo

    run_demo(nbytes=given.size * 10**6, keep=given.keep, progress=not given.no_progress)


def _add_simulate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shape",
        choices=("reduction", "mask-and-difference", "halo", "checkerboard"),
        default="mask-and-difference",
        help="of the synthetic graph (default: %(default)s)",
    )
    parser.add_argument(
        "--regions", type=count, default=2, metavar="N", help="how many (default: %(default)s)"
    )
    parser.add_argument(
        "--tasks",
        type=count,
        default=100_000,
        metavar="N",
        help="about how many (default: %(default)s)",
    )
    parser.add_argument(
        "--bytes",
        type=nbytes,
        metavar="SIZE",
        help="stored bytes that it reads in all, such as '1 PB' (default: 100 MB a chunk)",
    )
    add_objective(parser)


def _run_simulate(given: argparse.Namespace) -> None:
    from benchmarks.harness.ways_text import describe_simulation

    print(
        describe_simulation(
            given.shape,
            n_regions=given.regions,
            n_tasks=given.tasks,
            objective=given.objective,
            stored_nbytes=given.bytes,
        )
    )


def _add_workloads_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tasks", type=count, default=20_000, metavar="N", help="of each (default: %(default)s)"
    )
    add_objective(parser)


def _run_workloads(given: argparse.Namespace) -> None:
    from benchmarks.harness.ways_text import describe_workloads

    print(describe_workloads(n_tasks=given.tasks, objective=given.objective))


def _add_bench_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=[],
        metavar="SECTIONS",
        help="some of reductions,notebook,workloads,scale (default: all)",
    )
    parser.add_argument("--quick", action="store_true", help="less data, and each way once")
    parser.add_argument(
        "--output",
        default="results.json",
        metavar="FILE",
        help="where to keep the results (default: %(default)s)",
    )


def _run_bench_run(given: argparse.Namespace) -> None:
    from benchmarks.harness.bench import run_bench

    def tell(text: str) -> None:
        print(text, flush=True)

    run_bench(given.only, quick=given.quick, output=given.output, tell=tell)


def _add_bench_report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", nargs="+", metavar="FILE", help="that 'bench run' wrote")
    parser.add_argument(
        "--output",
        default="report.html",
        metavar="FILE",
        help="the page to write (default: %(default)s)",
    )


def _run_bench_report(given: argparse.Namespace) -> None:
    from benchmarks.harness.bench import write_report

    write_report(given.results, output=given.output)
    print(f"wrote {given.output}")


DEMO: Final = Command(
    summary="compute beside the data of two emulated regions on this machine",
    add_arguments=_add_demo_arguments,
    run=_run_demo,
)

SIMULATE: Final = Command(
    summary="place a synthetic graph over many regions, and price other ways to do the work",
    add_arguments=_add_simulate_arguments,
    run=_run_simulate,
)

WORKLOADS: Final = Command(
    summary="plan real analyses of declared data, and price other ways to do the work",
    add_arguments=_add_workloads_arguments,
    run=_run_workloads,
)

BENCH_RUN: Final = Command(
    summary="measure region against cross-region on an emulated WAN (root on Linux)",
    add_arguments=_add_bench_run_arguments,
    run=_run_bench_run,
)

BENCH_REPORT: Final = Command(
    summary="make a page of what was measured, with plots",
    add_arguments=_add_bench_report_arguments,
    run=_run_bench_report,
)
