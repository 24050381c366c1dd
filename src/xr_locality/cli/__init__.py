"""The command line ``xr-locality``: parses, calls the library, prints."""

from xr_locality.cli.command import Command
from xr_locality.cli.program import COMMANDS, main

__all__ = ["COMMANDS", "Command", "main"]
