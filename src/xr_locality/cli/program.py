"""The program: parses, runs a subcommand, and tells how it ended."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, Final, NoReturn

from xr_locality.cli import catalog, demo, endpoints, where
from xr_locality.cli.command import Command
from xr_locality.cli.output import INTERRUPTED, PROBLEM, SUCCESS
from xr_locality.errors import LocalityError, LocalityErrorGroup

__all__ = ["COMMANDS", "main"]

_PROGRAM: Final = "xr-locality"

#: The subcommands by name, in the order in which to list them.
COMMANDS: Final[Mapping[str, Command]] = {
    "demo": demo.DEMO,
    "catalog tag": catalog.TAG,
    "catalog check": catalog.CHECK,
    "endpoints": endpoints.ENDPOINTS,
    "clusters": endpoints.CLUSTERS,
    "where": where.WHERE,
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
        The exit code: 0; 1 after an error of the library's, if the reader of the output
        went away, or if the command found fault (a region is not known, an entry has a
        problem or no endpoint, an endpoint does not answer, a cluster is left over);
        130 after Ctrl-C.

    Raises
    ------
    SystemExit
        With 2 if the arguments cannot be understood, with 0 after ``--help`` and
        ``--version``.
    """
    given = _parser().parse_args(arguments)
    try:
        name = f"{given.command} {getattr(given, 'subcommand', '')}".rstrip()
        code = COMMANDS[name].run(given) or SUCCESS
        sys.stdout.flush()
        return code
    except LocalityError as error:
        print(f"{_PROGRAM}: error: {_describe(error)}", file=sys.stderr)
        return PROBLEM
    except BrokenPipeError:
        # The reader has closed the pipe. What is left unwritten must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PROBLEM
    except KeyboardInterrupt:
        print(f"{_PROGRAM}: interrupted", file=sys.stderr)
        return INTERRUPTED


class _Parser(argparse.ArgumentParser):
    """Shows wrong arguments without what is secret in them."""

    def error(self, message: str) -> NoReturn:
        """End with the usage and a message."""
        from xr_locality.regions.store import without_secrets

        super().error(without_secrets(message))


def _describe(error: LocalityError) -> str:
    # A group's own text ends in a count of what it has just listed.
    text = error.message if isinstance(error, LocalityErrorGroup) else str(error)
    return "\n".join((text, *getattr(error, "__notes__", ())))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_PROGRAM, description="Compute xarray graphs beside their data, across regions."
    )
    version = f"%(prog)s {metadata.version('xr-locality')}"
    parser.add_argument("--version", action="version", version=version)
    subparsers = parser.add_subparsers(dest="command", metavar="command", required=True)
    groups: dict[str, Any] = {}
    for name, command in COMMANDS.items():
        first, _, second = name.partition(" ")
        among = subparsers
        if second:
            if first not in groups:
                inside = [each for each in COMMANDS if each.startswith(f"{first} ")]
                listed = "; ".join(f"{each} {COMMANDS[each].summary}" for each in inside)
                group = subparsers.add_parser(first, help=listed)
                groups[first] = group.add_subparsers(
                    dest="subcommand", metavar="subcommand", required=True
                )
            among = groups[first]
        command.add_arguments(
            among.add_parser(second or first, help=command.summary, description=command.summary)
        )
    return parser
