"""Plans and reports as plain text, at most 100 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from xr_locality.display.tables import Fact, Note, Overview, Table

__all__ = ["lay_out"]

#: Columns that no line exceeds.
_WIDTH = 100

#: Columns that a label may take before its figures go on a line of their own.
_MOST_LABEL = 52

#: Notes on one row; the rest are counted.
_MOST_NOTES = 10


def lay_out(shown: Overview) -> str:
    """Lay out a headline, tables and facts as lines of at most 100 columns."""
    label_width = min(_MOST_LABEL, max(map(_label_width, shown.tables)))
    blocks = ["\n".join(_table(table, label_width)) for table in shown.tables]
    title = textwrap.fill(f"{shown.kind}: {shown.headline}", _WIDTH)
    return "\n\n".join((title, *blocks, "\n".join(_facts(shown.facts))))


def _label_width(table: Table) -> int:
    return max(len(table.title), *(2 + len(row.label) for row in table.rows), 0)


def _table(table: Table, label_width: int) -> Iterator[str]:
    figures = [table.headings, *(row.figures for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*figures, strict=True)]

    def line(label: str, cells: Sequence[str]) -> str:
        aligned = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        return "  ".join((label.ljust(label_width), *aligned)).rstrip()

    yield line(table.title, table.headings)
    for row in table.rows:
        if 2 + len(row.label) > label_width:
            yield from _wrapped(row.label, indent=2)
            yield line("", row.figures)
        else:
            yield line(f"  {row.label}", row.figures)
        yield from _notes(row.notes)


def _notes(notes: Sequence[Note]) -> Iterator[str]:
    for note in notes[:_MOST_NOTES]:
        yield from _wrapped(note.text, indent=4)
        if note.detail:
            yield from _wrapped(note.detail, indent=6)
    if (more := len(notes) - _MOST_NOTES) > 0:
        yield f"    and {more:,} more"


def _facts(facts: Sequence[Fact]) -> Iterator[str]:
    indent = max(len(fact.name) for fact in facts) + 2
    for fact in facts:
        name = fact.name
        for text in fact.texts:
            first, *more = _wrapped(text, indent=indent)
            yield name.ljust(indent) + first[indent:]
            yield from more
            name = ""


def _wrapped(text: str, *, indent: int) -> list[str]:
    """Break text at spaces; a word that is too long, such as a URL, anywhere."""
    # Names and URLs are the data's, and a terminal obeys control characters.
    printable = "".join(each if each.isprintable() else " " for each in text)
    return textwrap.wrap(
        printable,
        _WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2),
        break_on_hyphens=False,
    ) or [" " * indent]
