"""A summary as tables of words, which text and HTML lay out each in its way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from xr_locality.display import formatting
from xr_locality.display.comparison import Compared, ComparedWork, Comparison
from xr_locality.display.crossings import Crossing
from xr_locality.display.summary import RegionSummary, SourceSummary, Summary
from xr_locality.regions.region import Region

__all__ = ["Fact", "Note", "Row", "Table", "plan_facts", "plan_tables", "run_facts", "run_tables"]

_MOST_VARIABLES = 8


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


def plan_tables(summary: Summary) -> tuple[Table, ...]:
    """Write who runs what, what crosses, and what other ways would move."""
    return _regions(summary.regions), _crossings(summary), _ways(summary)


def plan_facts(summary: Summary, *, today: date) -> tuple[Fact, ...]:
    """Write what a plan rests on, as of a day."""
    placement = formatting.optimality(summary.gap, summary.solver)
    times = (
        (
            f"{formatting.seconds(summary.makespan)} if pairs of regions move at once, "
            "a round trip each"
        ),
        f"{formatting.seconds(summary.seconds)} of bytes alone, one pair after another",
    )
    return (
        Fact(name="Objective", texts=(formatting.objective(summary.objective),)),
        Fact(name="Placement", texts=(placement,)),
        Fact(name="Time", texts=times if summary.nbytes_moved else ("nothing moves",)),
        Fact(name="Prices", texts=(formatting.prices(summary.prices_as_of, today=today),)),
        Fact(name="Budget", texts=(formatting.budget(summary.budget),)),
        Fact(name="Unknown", texts=summary.unknowns or ("nothing was guessed",)),
    )


def run_tables(comparison: Comparison) -> tuple[Table, ...]:
    """Write what crossed beside what was predicted, and what each region did."""
    several = len(comparison.leaving) < len({*comparison.pairs, *comparison.remote_reads})
    return (
        _moves(comparison),
        *((_leaving(comparison),) if several else ()),
        *((_times(comparison),) if comparison.times else ()),
        _work(comparison),
    )


def run_facts(comparison: Comparison) -> tuple[Fact, ...]:
    """Write how long a run took, and how often something had to be done again."""
    times = (
        f"{formatting.seconds(comparison.seconds)} for the whole run",
        f"{formatting.seconds(comparison.predicted_seconds)} predicted for the moves alone",
    )
    return (
        Fact(name="Time", texts=times),
        Fact(name="Moved again", texts=(formatting.counted(comparison.retries, "value"),)),
    )


def _arrow(pair: tuple[Region, Region]) -> str:
    # As pairs are written in locality.prices.
    return f"{pair[0]} -> {pair[1]}"


def _regions(regions: Sequence[RegionSummary]) -> Table:
    rows = (
        Row(
            label=str(region.region),
            figures=(
                f"{region.n_layers:,}",
                formatting.UNKNOWN if region.n_tasks is None else f"{region.n_tasks:,}",
                formatting.estimate(region.nbytes_read, guessed=region.guessed),
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
    terms = pays if source.requester_pays else "", formatting.leaves(source.leaves), copy
    return Note(
        text=f"{source.url}{needed and f' ({needed})'}",
        detail="; ".join(
            filter(None, (f"{formatting.place(source.region)}: {source.evidence}", *terms))
        ),
    )


def _crossings(summary: Summary) -> Table:
    rows = [
        _crossing(
            _arrow((each.source, each.target)),
            formatting.WHY[each.why],
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
            yield row(formatting.baseline(name), each.nbytes, each.usd, each.seconds)

    this = row("this plan", summary.nbytes_moved, summary.usd, summary.seconds, strong=True)
    return Table(
        title="Ways to do the work",
        headings=("moves", "", "USD", "in"),
        rows=(this, *others()),
    )


#: What stands where nobody counted.
_NOT_COUNTED = "not counted"

#: Headings of what is predicted and measured in bytes and US dollars.
_COMPARED = ("predicted", "measured", "USD predicted", "USD measured")


def _compared(label: str, each: Compared, *, strong: bool = False) -> Row:
    measured = _NOT_COUNTED if each.nbytes is None else formatting.nbytes(each.nbytes)
    figures = (
        formatting.nbytes(each.predicted_nbytes),
        measured,
        formatting.usd(each.predicted_usd, unit=False),
        "" if each.usd is None else formatting.usd(each.usd, unit=False),
    )
    return Row(label=label, figures=figures, strong=strong)


def _moves(comparison: Comparison) -> Table:
    rows = [_compared(_arrow(pair), each) for pair, each in comparison.pairs.items()]
    rows += [
        _compared(f"{_arrow(pair)}, from stores", each)
        for pair, each in comparison.remote_reads.items()
    ]
    if len(rows) != 1:
        rows.append(_compared("total", comparison.total, strong=True))
    return Table(title="Crossings", headings=_COMPARED, rows=tuple(rows))


def _leaving(comparison: Comparison) -> Table:
    rows = (_compared(str(region), each) for region, each in comparison.leaving.items())
    return Table(title="Leaving", headings=_COMPARED, rows=tuple(rows))


def _times(comparison: Comparison) -> Table:
    rows = (
        Row(
            label=_arrow(pair),
            figures=(formatting.seconds(each.predicted_seconds), formatting.seconds(each.seconds)),
        )
        for pair, each in comparison.times.items()
    )
    return Table(title="Moving for", headings=("predicted", "measured"), rows=tuple(rows))


def _work(comparison: Comparison) -> Table:
    # Nobody counts stored bytes of most files: no columns of them then.
    counted = any(each.nbytes_read is not None for each in comparison.regions.values())

    def read(each: ComparedWork) -> tuple[str, ...]:
        if not counted:
            return ()
        measured = _NOT_COUNTED if each.nbytes_read is None else formatting.nbytes(each.nbytes_read)
        return formatting.nbytes(each.predicted_nbytes_read), measured

    rows = (
        Row(
            label=str(region),
            figures=(
                formatting.UNKNOWN if each.planned_tasks is None else f"{each.planned_tasks:,}",
                f"{each.tasks:,}",
                formatting.seconds(each.seconds),
                *read(each),
            ),
        )
        for region, each in comparison.regions.items()
    )
    headings = (
        "tasks",
        "run",
        "computing",
        *(("to read", "read") if counted else ()),
    )
    return Table(title="Regions", headings=headings, rows=tuple(rows))
