"""Overview of a plan: regions, crossings, other ways to do the work, and its basis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from xr_locality.display import wording
from xr_locality.display.crossings import Crossing
from xr_locality.display.summary import RegionSummary, SourceSummary, Summary, summarise
from xr_locality.display.tables import Fact, Note, Overview, Row, Table
from xr_locality.plan.model import PlanRecord
from xr_locality.runtime import formatting

__all__ = ["plan_page"]

#: Variables of a source that are named; the others are counted.
_MOST_VARIABLES = 8


def plan_page(plan: PlanRecord, *, today: date | None = None) -> Overview:
    """Summarise a plan as tables: what runs where, which bytes cross, at what cost.

    Parameters
    ----------
    plan : PlanRecord
        What to show.
    today : date, optional
        The day from which the age of prices is counted; by default that of the clock.

    Returns
    -------
    Overview
    """
    summary = summarise(plan)
    return Overview(
        kind="Plan",
        headline=summary.headline,
        tables=(_regions(summary.regions), _crossings(summary), _ways(summary)),
        facts_title="Basis",
        facts=_facts(summary, today=today or date.today()),
    )


def _facts(summary: Summary, *, today: date) -> tuple[Fact, ...]:
    """Write what a plan rests on, as of a day."""
    placement = wording.optimality(summary.gap, summary.solver)
    times = (
        (
            f"{formatting.seconds(summary.makespan)} if pairs of regions move at once, "
            "a round trip each"
        ),
        f"{formatting.seconds(summary.seconds)} of bytes alone, one pair after another",
    )
    return (
        Fact(name="Objective", texts=(wording.objective(summary.objective),)),
        Fact(name="Placement", texts=(placement,)),
        Fact(name="Time", texts=times if summary.nbytes_moved else ("nothing moves",)),
        Fact(name="Prices", texts=(wording.prices(summary.prices_as_of, today=today),)),
        Fact(name="Budget", texts=(wording.budget(summary.budget),)),
        Fact(name="Unknown", texts=summary.unknowns or ("nothing was guessed",)),
    )


def _regions(regions: Sequence[RegionSummary]) -> Table:
    rows = (
        Row(
            label=str(region.region),
            figures=(
                f"{region.n_layers:,}",
                formatting.UNKNOWN if region.n_tasks is None else f"{region.n_tasks:,}",
                wording.estimate(region.nbytes_read, guessed=region.guessed),
            ),
            notes=tuple(map(_source, region.sources)),
        )
        for region in regions
    )
    return Table(title="Regions", headings=("layers", "tasks", "reads"), rows=tuple(rows))


def _source(source: SourceSummary) -> Note:
    needed = formatting.listed(source.variables, most=_MOST_VARIABLES)
    copy = f"reads the replica {source.replica}" if source.replica else ""
    pays = "requester pays (requests unpriced)"
    terms = pays if source.requester_pays else "", wording.leaves(source.leaves), copy
    return Note(
        text=f"{source.url}{needed and f' ({needed})'}",
        detail="; ".join(
            filter(None, (f"{wording.place(source.region)}: {source.evidence}", *terms))
        ),
    )


def _crossings(summary: Summary) -> Table:
    rows = [
        _crossing(
            wording.arrow((each.source, each.target)),
            wording.WHY[each.why],
            each.n_values,
            each.nbytes,
            each.usd,
            notes=(_values(each),),
        )
        for each in summary.crossings
    ]
    if len(rows) != 1:
        n_values = sum(each.n_values for each in summary.crossings)
        rows.append(
            _crossing("total", "", n_values, summary.nbytes_moved, summary.usd, strong=True)
        )
    return Table(title="Crossings", headings=("why", "values", "bytes", "USD"), rows=tuple(rows))


def _crossing(
    label: str,
    why: str,
    n_values: int,
    nbytes: int,
    usd: float,
    *,
    notes: tuple[Note, ...] = (),
    strong: bool = False,
) -> Row:
    return Row(
        label=label,
        figures=(why, f"{n_values:,}", formatting.nbytes(nbytes), formatting.usd(usd, unit=False)),
        notes=notes,
        strong=strong,
    )


def _values(crossing: Crossing) -> Note:
    names = formatting.listed(crossing.names, most=len(crossing.names), total=crossing.n_names)
    return Note(text=names)


def _ways(summary: Summary) -> Table:
    def row(name: str, nbytes: int, usd: float, seconds: float, *, strong: bool = False) -> Row:
        figures = (
            formatting.nbytes(nbytes),
            "" if strong else formatting.ratio(nbytes, summary.nbytes_moved),
            formatting.usd(usd, unit=False),
            formatting.seconds(seconds),
        )
        return Row(label=name, figures=figures, amount=nbytes, strong=strong)

    def others() -> Iterator[Row]:
        if summary.baselines is None:
            unknown = formatting.UNKNOWN
            yield Row(label="other ways", figures=(unknown, "", unknown, unknown))
            return
        for name, each in summary.baselines.items():
            yield row(wording.baseline(name), each.nbytes, each.usd, each.seconds)

    this = row("this plan", summary.nbytes_moved, summary.usd, summary.seconds, strong=True)
    return Table(
        title="Ways to do the work",
        headings=("moves", "", "USD", "in"),
        rows=(this, *others()),
    )
