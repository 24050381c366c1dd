"""Plans and reports as HTML, at home in a notebook beside xarray's own objects.

Self-contained: one style sheet, no script, nothing to fetch. Colours are those of
the page (JupyterLab, VS Code, pydata's Sphinx theme), so light and dark follow it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from importlib import resources
from typing import Final

from xr_locality.display.tables import Fact, Note, Overview, Row, Table
from xr_locality.display.text import lay_out

__all__ = ["render"]

#: Notes that are shown at once; more are folded.
_MOST_NOTES: Final = 3


def render(shown: Overview) -> str:
    """Lay out a headline, tables and facts as a fragment of HTML."""
    # Where a notebook is not trusted its styles are dropped: then the text shows, and
    # the rest, hidden until a style shows it, does not. xarray does the same.
    return (
        f"<div><style>{_style()}</style>"
        f'<pre class="xl-fallback">{escape(lay_out(shown))}</pre>'
        '<div class="xl-wrap" style="display:none">'
        f'<div class="xl-header"><span class="xl-type">xr_locality.{shown.kind}</span>'
        f"<span>{escape(shown.headline)}</span></div>"
        f"{''.join(map(_table, shown.tables))}{_facts(shown.facts_title, shown.facts)}"
        "</div></div>"
    )


def _table(table: Table) -> str:
    most = max((row.amount for row in table.rows), default=0.0)
    headings = "".join(f"<th>{escape(heading)}</th>" for heading in table.headings)
    rows = "".join(_row(row, most) for row in table.rows)
    head = f"<thead><tr><th></th>{headings}</tr></thead>"
    return _section(table.title, f"<table>{head}<tbody>{rows}</tbody></table>")


def _row(row: Row, most: float) -> str:
    label = escape(row.label.replace(" -> ", " → "))
    bar = ""
    if most:
        share = 100 * row.amount / most
        bar = f'<span class="xl-bar" style="width:{share:.2f}%"></span>'
    figures = "".join(f"<td>{escape(figure)}</td>" for figure in row.figures)
    strong = ' class="xl-strong"' if row.strong else ""
    return f"<tr{strong}><td>{label}{bar}{_notes(row.notes)}</td>{figures}</tr>"


def _notes(notes: Sequence[Note]) -> str:
    listed = "".join(
        f'<li><span class="xl-name">{escape(note.text)}</span>'
        f"{note.detail and f'<br>{escape(note.detail)}'}</li>"
        for note in notes
    )
    if not notes:
        return ""
    if len(notes) <= _MOST_NOTES:
        return f"<ul>{listed}</ul>"
    return f"<details><summary>all {len(notes):,}</summary><ul>{listed}</ul></details>"


def _facts(title: str, facts: Sequence[Fact]) -> str:
    listed = "".join(f"<dt>{escape(fact.name)}</dt><dd>{_lines(fact.texts)}</dd>" for fact in facts)
    return _section(title, f"<dl>{listed}</dl>")


def _lines(texts: Iterable[str]) -> str:
    return "<br>".join(map(escape, texts))


def _section(title: str, body: str) -> str:
    return f'<details open class="xl-section"><summary>{escape(title)}</summary>{body}</details>'


@cache
def _style() -> str:
    return resources.files("xr_locality").joinpath("display", "html.css").read_text("utf-8")
