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
    #: Does the work, and imports what that takes. Returns the exit code, or None for success.
    run: Callable[[argparse.Namespace], int | None]
