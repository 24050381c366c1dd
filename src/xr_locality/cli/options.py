"""Options and kinds of argument that several subcommands share."""

from __future__ import annotations

import argparse
from typing import get_args

from xr_locality.config import Probing
from xr_locality.errors import LocalityError

__all__ = ["add_json", "add_probe", "megabytes", "url"]


def add_json(parser: argparse.ArgumentParser, *, what: str = "JSON") -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help=f"print {what}")


def add_probe(parser: argparse.ArgumentParser) -> None:
    """Add ``--probe``, by default None: as configured."""
    parser.add_argument(
        "--probe",
        choices=get_args(Probing),
        help="ask clouds where the region is unknown, always, or never (default: as configured)",
    )


def url(text: str) -> str:
    """Check that data can lie at a URL, and return it as it was given."""
    from xr_locality.regions.store import Store

    try:
        Store.from_url(text)
    except LocalityError as error:
        # Not argparse's own words for a wrong value, which show it.
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def megabytes(text: str) -> int:
    """Read a whole number of MB above zero."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of MB above zero")
    return int(text)
