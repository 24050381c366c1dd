"""What a subcommand is."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Command"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A subcommand."""

    #: One line for the list of commands.
    summary: str
    #: Gives the parser its arguments.
    add_arguments: Callable[[argparse.ArgumentParser], None]
    #: Does the work; whatever is expensive to import is imported here. May return the exit code.
    run: Callable[[argparse.Namespace], int | None]
