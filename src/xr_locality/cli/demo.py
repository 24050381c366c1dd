"""``demo``: the demonstration on two emulated regions."""

from __future__ import annotations

import argparse
from typing import Final

from xr_locality.cli.command import Command
from xr_locality.cli.options import megabytes

__all__ = ["DEMO"]


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


DEMO: Final = Command(
    summary="compute beside the data of two emulated regions on this machine",
    add_arguments=_add_demo_arguments,
    run=_run_demo,
)
