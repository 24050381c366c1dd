"""Plans and reports as HTML, at home in a notebook beside xarray's own objects.

Self-contained: one style sheet, no script, nothing to fetch. Colours are those of
the page (JupyterLab, VS Code, pydata's Sphinx theme), so light and dark follow it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from functools import cache
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Final

from xr_locality.display.comparison import Measured, compare_measured
from xr_locality.display.plan_comparison_tables import comparison_facts, comparison_tables
from xr_locality.display.summary import summarise
from xr_locality.display.tables import (
    Fact,
    Note,
    Row,
    Table,
    plan_facts,
    plan_tables,
    run_facts,
    run_tables,
)
from xr_locality.display.text import lay_out

if TYPE_CHECKING:
    from xr_locality.display.plan_comparison import PlanComparison
    from xr_locality.plan.model import Plan

__all__ = ["render", "render_comparison", "render_report"]

#: Notes that are shown at once; more are folded.
_MOST_NOTES: Final = 3


def render(plan: Plan, *, today: date | None = None) -> str:
    """Show a plan: who runs what, which bytes cross, at what cost.

    Parameters
    ----------
    plan : Plan
        What to show.
    today : date, optional
        The day from which the age of prices is counted; by default that of the clock.

    Returns
    -------
    str
        A fragment of HTML.
    """
    summary = summarise(plan)
    tables, facts = plan_tables(summary), plan_facts(summary, today=today or date.today())
    return _page("Plan", summary.headline, tables, facts, facts_title="Basis")


def render_report(report: Measured) -> str:
    """Show a run: what was predicted beside what was measured.

    Parameters
    ----------
    report : Report
        What was measured, with its plan.

    Returns
    -------
    str
        A fragment of HTML.
    """
    comparison = compare_measured(report)
    tables, facts = run_tables(comparison), run_facts(comparison)
    return _page("Report", comparison.headline, tables, facts, facts_title="Run")


def render_comparison(comparison: PlanComparison) -> str:
    """Show two plans side by side.

    Parameters
    ----------
    comparison : PlanComparison
        What to show.

    Returns
    -------
    str
        A fragment of HTML.
    """
    tables, facts = comparison_tables(comparison), comparison_facts(comparison)
    return _page("PlanComparison", comparison.headline, tables, facts, facts_title="Basis")


def _page(
    kind: str,
    headline: str,
    tables: Sequence[Table],
    facts: Sequence[Fact],
    *,
    facts_title: str,
) -> str:
    # Where a notebook is not trusted its styles are dropped: then the text shows, and
    # the rest, hidden until a style shows it, does not. xarray does the same.
    text = lay_out(f"{kind}: {headline}", tables, facts)
    return (
        f"<div><style>{_style()}</style>"
        f'<pre class="xl-fallback">{escape(text)}</pre>'
        '<div class="xl-wrap" style="display:none">'
        f'<div class="xl-header"><span class="xl-type">xr_locality.{kind}</span>'
        f"<span>{escape(headline)}</span></div>"
        f"{''.join(map(_table, tables))}{_facts(facts_title, facts)}"
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
