"""``catalog tag`` and ``catalog check``: the regions of a catalog's entries."""

from __future__ import annotations

import argparse
from typing import Final

from xr_locality.cli.command import Command
from xr_locality.cli.options import add_json, add_probe
from xr_locality.cli.output import PROBLEM, SUCCESS, print_found

__all__ = ["CHECK", "TAG"]


def _add_tag_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="an Intake catalog on this machine")
    parser.add_argument("--dry-run", action="store_true", help="leave the file as it is")
    add_json(parser)
    add_probe(parser)


def _run_tag(given: argparse.Namespace) -> int:
    from xr_locality.catalog import tag_file

    done = tag_file(given.file, dry_run=given.dry_run, probe=given.probe)
    print_found(done.to_dict(), as_json=given.json, text=done.to_text)
    return PROBLEM if done.unknown or done.problems else SUCCESS


def _add_check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a catalog of Intake's or STAC's")
    add_json(parser)
    add_probe(parser)


def _run_check(given: argparse.Namespace) -> int:
    from xr_locality.catalog import check

    checked = check(given.file, probe=given.probe)
    ready = f"{sum(each.ok for each in checked)} of {len(checked)} entries are ready"
    print_found(
        [each.to_dict() for each in checked],
        as_json=given.json,
        text=lambda: "\n".join([*(each.to_text() for each in checked), ready]),
    )
    return SUCCESS if all(each.ok for each in checked) else PROBLEM


TAG: Final = Command(
    summary="write the regions of its entries into a catalog, as far as they are known",
    add_arguments=_add_tag_arguments,
    run=_run_tag,
)

CHECK: Final = Command(
    summary="say of each entry whether its region is known and has an endpoint, and who pays",
    add_arguments=_add_check_arguments,
    run=_run_check,
)
