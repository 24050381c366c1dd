"""The command line ``xr-locality``: parses, calls the library, prints."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from xr_locality.errors import LocalityError, LocalityErrorGroup

__all__ = ["COMMANDS", "Command", "main"]

_PROGRAM: Final = "xr-locality"
#: What shells answer after Ctrl-C: 128 and the signal's number.
_INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A subcommand."""

    #: One line for the list of commands.
    summary: str
    #: Gives the parser its arguments.
    add_arguments: Callable[[argparse.ArgumentParser], None]
    #: Does the work; whatever is expensive to import is imported here.
    run: Callable[[argparse.Namespace], None]


def _add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave the regions up until Ctrl-C, and print the code to connect to them",
    )
    parser.add_argument("--no-progress", action="store_true", help="draw no progress bars")
    parser.add_argument(
        "--size",
        type=_megabytes,
        default=200,
        metavar="MB",
        help="generate at least this many MB of daily data in each region (default: 200)",
    )


def _run_demo(given: argparse.Namespace) -> None:
    from xr_locality.demo.requirements import check_installed

    check_installed()
    from xr_locality.demo.run import run_demo

    run_demo(nbytes=given.size * 10**6, keep=given.keep, progress=not given.no_progress)


def _megabytes(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of MB above zero")
    return int(text)


#: The subcommands by name, in the order in which to list them.
COMMANDS: Final[Mapping[str, Command]] = {
    "demo": Command(
        summary="compute beside the data of two emulated regions on this machine",
        add_arguments=_add_demo_arguments,
        run=_run_demo,
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        The exit code: 0, 1 after an error of the library's, 130 after Ctrl-C.

    Raises
    ------
    SystemExit
        With 2 if the arguments cannot be understood, with 0 after ``--help`` and
        ``--version``.
    """
    given = _parser().parse_args(arguments)
    try:
        COMMANDS[given.command].run(given)
    except LocalityError as error:
        print(f"{_PROGRAM}: error: {_describe(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{_PROGRAM}: interrupted", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _describe(error: LocalityError) -> str:
    # A group's own text ends in a count of what it has just listed.
    text = error.message if isinstance(error, LocalityErrorGroup) else str(error)
    return "\n".join((text, *getattr(error, "__notes__", ())))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM, description="Compute xarray graphs beside their data, across regions."
    )
    version = f"%(prog)s {metadata.version('xr-locality')}"
    parser.add_argument("--version", action="version", version=version)
    subparsers = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, command in COMMANDS.items():
        command.add_arguments(
            subparsers.add_parser(name, help=command.summary, description=command.summary)
        )
    return parser
