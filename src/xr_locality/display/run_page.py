"""Overview of a run: what crossed and what regions did, beside what was predicted."""

from __future__ import annotations

from xr_locality.display import wording
from xr_locality.display.run_comparison import Compared, ComparedWork, Comparison, compare_measured
from xr_locality.display.tables import Fact, Overview, Row, Table
from xr_locality.execution.metrics.report import ReportRecord
from xr_locality.runtime import formatting

__all__ = ["run_page"]


def run_page(report: ReportRecord) -> Overview:
    """Summarise a run as tables: what was measured beside what was predicted.

    Parameters
    ----------
    report : ReportRecord
        What was measured, with its plan.

    Returns
    -------
    Overview
    """
    comparison = compare_measured(report)
    return Overview(
        kind="Report",
        headline=comparison.headline,
        tables=_tables(comparison),
        facts_title="Run",
        facts=_facts(comparison),
    )


def _tables(comparison: Comparison) -> tuple[Table, ...]:
    """Write what crossed beside what was predicted, and what each region did."""
    several = len(comparison.leaving) < len({*comparison.pairs, *comparison.remote_reads})
    return (
        _moves(comparison),
        *((_leaving(comparison),) if several else ()),
        *((_times(comparison),) if comparison.times else ()),
        _work(comparison),
    )


def _facts(comparison: Comparison) -> tuple[Fact, ...]:
    """Write how long a run took, and how often something had to be done again."""
    times = (
        f"{formatting.seconds(comparison.seconds)} for the whole run",
        f"{formatting.seconds(comparison.predicted_seconds)} predicted for the moves alone",
    )
    return (
        Fact(name="Time", texts=times),
        Fact(name="Moved again", texts=(formatting.counted(comparison.retries, "value"),)),
    )


#: Shown in place of bytes that were not counted.
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
    rows = [_compared(wording.arrow(pair), each) for pair, each in comparison.pairs.items()]
    rows += [
        _compared(f"{wording.arrow(pair)}, from stores", each)
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
            label=wording.arrow(pair),
            figures=(formatting.seconds(each.predicted_seconds), formatting.seconds(each.seconds)),
        )
        for pair, each in comparison.times.items()
    )
    return Table(title="Moving for", headings=("predicted", "measured"), rows=tuple(rows))


def _work(comparison: Comparison) -> Table:
    # Stored bytes of most kinds of files are not counted: no columns of them then.
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
