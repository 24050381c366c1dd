"""Tables and facts as values, which text and HTML lay out each in its way."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Fact", "Note", "Overview", "Row", "Table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a row's label stands for, and more about it."""

    text: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A label, its figures under the table's headings, and notes on it.

    Attributes
    ----------
    label : str
        What the figures are of.
    figures : tuple of str
        One for each heading of the table.
    notes : tuple of Note
        What the label stands for.
    amount : float
        What a bar beside the row shows, among the other rows' amounts.
    strong : bool
        Whether this row is the one to look at.
    """

    label: str
    figures: tuple[str, ...]
    notes: tuple[Note, ...] = ()
    amount: float = 0.0
    strong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under a title and the headings of their figures."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A name and what is to be said about it, a sentence each."""

    name: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All that is shown of a plan, a run or a comparison.

    Attributes
    ----------
    kind : str
        Name of the class of what is shown.
    headline : str
        All of it in one line.
    tables : tuple of Table
        Figures.
    facts_title : str
        Title of the facts.
    facts : tuple of Fact
        What the figures rest on.
    """

    kind: str
    headline: str
    tables: tuple[Table, ...]
    facts_title: str
    facts: tuple[Fact, ...]
