"""Two plans side by side as tables of words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from xr_locality.display import formatting
from xr_locality.display.crossings import Crossing
from xr_locality.display.tables import Fact, Note, Row, Table

if TYPE_CHECKING:
    from xr_locality.display.plan_comparison import ComparedCrossing, PlanComparison, PlanFigures

__all__ = ["comparison_facts", "comparison_tables"]

#: Stands for what does not cross.
_NOTHING = "-"


def comparison_tables(comparison: PlanComparison) -> tuple[Table, ...]:
    """Write what either plan moves in all, and what crosses in which."""
    return _totals(comparison), _crossings(comparison)


def comparison_facts(comparison: PlanComparison) -> tuple[Fact, ...]:
    """Write where tasks run in either plan, how sure that is, and what only one guesses."""
    this, other = comparison.this, comparison.other
    facts = [
        Fact(name="Regions", texts=_both(_regions(this), _regions(other))),
        Fact(
            name="Objective",
            texts=_both(
                formatting.objective(this.objective), formatting.objective(other.objective)
            ),
        ),
        Fact(
            name="Placement",
            texts=_both(
                formatting.optimality(this.gap, this.solver),
                formatting.optimality(other.gap, other.solver),
            ),
        ),
    ]
    if not comparison.same_graph:
        facts.append(Fact(name="Work", texts=("the plans make their results by other tasks",)))
    unknown = (*_only("this", this, other), *_only("other", other, this))
    return (*facts, Fact(name="Unknown", texts=unknown or ("the same in both",)))


def _both(this: str, other: str) -> tuple[str, ...]:
    return (f"both: {this}",) if this == other else (f"this: {this}", f"other: {other}")


def _regions(figures: PlanFigures) -> str:
    return ", ".join(map(str, figures.regions))


def _only(which: str, figures: PlanFigures, than: PlanFigures) -> Iterator[str]:
    for unknown in figures.unknowns:
        if unknown not in than.unknowns:
            yield f"{which}: {unknown}"


def _totals(comparison: PlanComparison) -> Table:
    this, other = comparison.this, comparison.other

    def row(label: str, name: str, write: Callable[[Any], str]) -> Row:
        one, two = getattr(this, name), getattr(other, name)
        figures = (
            write(one),
            write(two),
            formatting.difference(two - one, write),
            formatting.ratio(two, one),
        )
        return Row(label=label, figures=figures)

    return Table(
        title="All that moves",
        headings=("this", "other", "difference", ""),
        rows=(
            row("boundary values", "n_boundaries", "{:,}".format),
            row("bytes", "nbytes_moved", formatting.nbytes),
            row("USD", "usd", _usd),
            row("time, one pair after another", "seconds", formatting.seconds),
            row("time, pairs at the same time", "makespan", formatting.seconds),
        ),
    )


def _usd(amount: float) -> str:
    return formatting.usd(amount, unit=False)


def _crossings(comparison: PlanComparison) -> Table:
    def row(each: ComparedCrossing) -> Row:
        names = dict.fromkeys(name for one in (each.this, each.other) if one for name in one.names)
        n_names = max(one.n_names for one in (each.this, each.other) if one)
        shown = formatting.listed(tuple(names), most=len(names), total=max(n_names, len(names)))
        return Row(
            label=f"{each.source} -> {each.target}",
            figures=(
                _nbytes(each.this),
                _nbytes(each.other),
                _dollars(each.this),
                _dollars(each.other),
            ),
            notes=(Note(text=f"{formatting.WHY[each.why]}: {shown}"),),
        )

    rows = tuple(map(row, comparison.crossings))
    return Table(
        title="Crossings",
        headings=("this", "other", "USD this", "USD other"),
        rows=rows or (Row(label="nothing crosses", figures=("",) * 4),),
    )


def _nbytes(crossing: Crossing | None) -> str:
    return _NOTHING if crossing is None else formatting.nbytes(crossing.nbytes)


def _dollars(crossing: Crossing | None) -> str:
    return _NOTHING if crossing is None else _usd(crossing.usd)
