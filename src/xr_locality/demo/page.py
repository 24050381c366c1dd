"""What the demonstration prints: sections, timed steps, tables, code."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from xr_locality.display.source_table import columns
from xr_locality.runtime import formatting

__all__ = ["Page"]


class Page:
    """Writes to a console, with colours where it is a terminal.

    Parameters
    ----------
    console : rich.console.Console, optional
        By default one on the standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._sections = 0

    def section(self, title: str) -> None:
        """Begin a section; they are numbered."""
        self._sections += 1
        heading = f"{self._sections}. {title}"
        self._write(Text(f"\n{heading}\n{'─' * len(heading)}", style="bold"))

    def say(self, text: str) -> None:
        """Write lines as they are."""
        self._write(Text(text))

    def show(self, text: Text) -> None:
        """Write text with styles, as it is."""
        self._write(text)

    def code(self, lines: str) -> None:
        """Write lines of Python, ready to be copied."""
        highlighted = Syntax("", "python", theme="ansi_dark").highlight(lines)
        highlighted.rstrip()
        self._write(highlighted)

    def table(self, *rows: tuple[str, ...]) -> None:
        """Write rows in columns, the first being the headings."""
        first, *others = columns(list(rows))
        self._write(Text(first, style="dim"))
        self.say("\n".join(others))

    @contextmanager
    def timed(self, done: str) -> Iterator[None]:
        """Say how long the block took.

        Parameters
        ----------
        done : str
            What was done, as a sentence without its full stop.
        """
        start = time.perf_counter()
        yield
        self.say(f"{done} in {formatting.seconds(time.perf_counter() - start)}.")

    def _write(self, text: Text) -> None:
        # Soft: the terminal breaks long lines, and code stays as it can be copied.
        self._console.print(text, soft_wrap=True)
