"""Options and kinds of argument that several subcommands share."""

from __future__ import annotations

import argparse
from typing import get_args

from xr_locality.config import Objective, Probing
from xr_locality.errors import LocalityError

__all__ = ["add_json", "add_objective", "add_probe", "count", "megabytes", "nbytes", "url"]


def add_json(parser: argparse.ArgumentParser, *, what: str = "JSON") -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help=f"print {what}")


def add_probe(parser: argparse.ArgumentParser) -> None:
    """Add ``--probe``, by default None: as configured."""
    parser.add_argument(
        "--probe",
        choices=get_args(Probing),
        help="ask clouds where nobody knows, always, or never (default: as configured)",
    )


def add_objective(parser: argparse.ArgumentParser) -> None:
    """Add ``--objective``."""
    parser.add_argument(
        "--objective",
        choices=get_args(Objective),
        default="usd",
        help="what plans keep least (default: %(default)s)",
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


def nbytes(text: str) -> int:
    """Read a size such as ``1 PB``, in bytes."""
    from dask.utils import parse_bytes

    try:
        size = int(parse_bytes(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size") from error
    if size < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not above zero")
    return size


def count(text: str) -> int:
    """Read a whole number above zero, also one written as ``1e5``."""
    try:
        number = int(float(text))
    except (OverflowError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not above zero")
    return number


def megabytes(text: str) -> int:
    """Read a whole number of MB above zero."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of MB above zero")
    return int(text)
