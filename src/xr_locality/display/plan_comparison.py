"""Two plans of the same work side by side, to ask what another endpoint would change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xr_locality.display import wording
from xr_locality.display.crossings import Crossing, crossings
from xr_locality.display.html import render
from xr_locality.display.tables import Fact, Note, Overview, Row, Table
from xr_locality.display.text import lay_out
from xr_locality.errors import PlacementError
from xr_locality.graph.collections import Part
from xr_locality.plan.model import PlanRecord
from xr_locality.plan.transfers import Why
from xr_locality.regions.region import Region
from xr_locality.runtime import formatting

__all__ = ["ComparedCrossing", "PlanComparison", "compare_plans"]

#: Stands for what does not cross.
_NOTHING = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedCrossing:
    """What goes from one region to another for one reason, in either plan.

    Attributes
    ----------
    source, target : Region
        The regions that the bytes leave and enter.
    why : {"boundary", "remote-read", "result", "upload"}
        As for a :class:`~xr_locality.plan.transfers.Transfer`.
    this, other : Crossing or None
        What crosses in the plan asked, and in the one that it is compared with.
    """

    source: Region
    target: Region
    why: Why
    this: Crossing | None
    other: Crossing | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanComparison:
    """A plan beside another of the same work.

    Made by :meth:`Plan.compare <xr_locality.Plan.compare>`. Differences are those of the
    other plan to this one: negative where it moves less.

    Attributes
    ----------
    this, other : Plan
        The plan asked, and the one that it is compared with.
    crossings : tuple of ComparedCrossing
        What crosses in either, by pair of regions and reason.
    same_graph : bool
        Whether both make their results by the same tasks; if not, they are two ways to
        write the same work.
    """

    this: PlanRecord
    other: PlanRecord
    crossings: tuple[ComparedCrossing, ...]
    same_graph: bool

    @property
    def nbytes_difference(self) -> int:
        """Bytes that the other plan moves more."""
        return self.other.nbytes_moved - self.this.nbytes_moved

    @property
    def usd_difference(self) -> float:
        """US dollars that the other plan costs more."""
        return self.other.usd - self.this.usd

    @property
    def seconds_difference(self) -> float:
        """Seconds that the other plan's moves take longer, one pair after another."""
        return self.other.seconds - self.this.seconds

    @property
    def only_in_this(self) -> tuple[Crossing, ...]:
        """What crosses in this plan and not in the other."""
        return tuple(each.this for each in self.crossings if each.this and not each.other)

    @property
    def only_in_other(self) -> tuple[Crossing, ...]:
        """What crosses in the other plan and not in this."""
        return tuple(each.other for each in self.crossings if each.other and not each.this)

    @property
    def headline(self) -> str:
        """The comparison in one line."""
        this, other = self.this, self.other
        return (
            f"the other plan moves {formatting.nbytes(other.nbytes_moved)} instead of "
            f"{formatting.nbytes(this.nbytes_moved)}, for {formatting.usd(other.usd)} instead of "
            f"{formatting.usd(this.usd)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Make a JSON-ready form; regions are written as text."""
        return {
            "this": _figures_to_dict(self.this),
            "other": _figures_to_dict(self.other),
            "difference": {
                "nbytes_moved": self.nbytes_difference,
                "usd": self.usd_difference,
                "seconds": self.seconds_difference,
                "makespan": self.other.makespan - self.this.makespan,
            },
            "crossings": [
                {
                    "from": str(each.source),
                    "to": str(each.target),
                    "why": each.why,
                    "this": _moved_to_dict(each.this),
                    "other": _moved_to_dict(each.other),
                }
                for each in self.crossings
            ],
            "same_graph": self.same_graph,
        }

    def __repr__(self) -> str:
        return f"<PlanComparison: {self.headline}>"

    def __str__(self) -> str:
        return lay_out(_overview(self))

    def _repr_html_(self) -> str:
        return render(_overview(self))


def _figures_to_dict(plan: PlanRecord) -> dict[str, Any]:
    return {
        "regions": list(map(str, plan.regions)),
        "n_boundaries": len(plan.boundaries),
        "nbytes_moved": plan.nbytes_moved,
        "usd": plan.usd,
        "seconds": plan.seconds,
        "makespan": plan.makespan,
        "objective": plan.objective,
        "gap": plan.gap,
        "solver": plan.solver,
        "unknowns": list(plan.unknowns),
    }


def _moved_to_dict(crossing: Crossing | None) -> Mapping[str, Any] | None:
    if crossing is None:
        return None
    return {"n_values": crossing.n_values, "nbytes": crossing.nbytes, "usd": crossing.usd}


def compare_plans(this: PlanRecord, other: PlanRecord) -> PlanComparison:
    """Put two plans of the same work side by side.

    Parameters
    ----------
    this, other : PlanRecord
        Of the same objects, or of two ways to write the same work.

    Returns
    -------
    PlanComparison

    Raises
    ------
    PlacementError
        If the results of the plans differ in kind, shape or type: then what one
        moves less says nothing about placement.
    """
    forms = _form(this.bundle.parts), _form(other.bundle.parts)
    if forms[0] != forms[1]:
        raise PlacementError(
            f"The plans make different results: {_shown(forms[0])}, and {_shown(forms[1])}. "
            "Compare plans of the same work, made with other endpoints or another policy."
        )
    by_way: list[dict[tuple[Region, Region, Why], Crossing]] = [
        {(each.source, each.target, each.why): each for each in crossings(plan)}
        for plan in (this, other)
    ]
    return PlanComparison(
        this=this,
        other=other,
        crossings=tuple(
            ComparedCrossing(
                source=source,
                target=target,
                why=why,
                this=by_way[0].get((source, target, why)),
                other=by_way[1].get((source, target, why)),
            )
            for source, target, why in sorted({*by_way[0], *by_way[1]})
        ),
        same_graph=_layers(this) == _layers(other),
    )


def _form(parts: Iterable[Part]) -> tuple[str, ...]:
    """Say what results are like: their kinds, names, shapes and types of numbers."""

    def one(part: Part) -> str:
        collection = part.collection
        facts = (getattr(collection, name, None) for name in ("dtype", "shape"))
        kind = " ".join(str(fact) for fact in facts if fact is not None)
        named = f"{part.variable}: " if part.variable else ""
        return f"{named}{type(collection).__name__} {kind}".rstrip()

    return tuple(map(one, parts))


def _shown(form: tuple[str, ...]) -> str:
    return formatting.listed(form, most=3) or "nothing"


def _layers(plan: PlanRecord) -> list[tuple[str, ...]]:
    """Name the layers that make the results: dask gives equal work equal names."""
    return [part.layers for part in plan.bundle.parts]


def _overview(comparison: PlanComparison) -> Overview:
    """List what either plan moves in all, what crosses in which, and what they rest on."""
    return Overview(
        kind="PlanComparison",
        headline=comparison.headline,
        tables=(_totals(comparison), _crossings(comparison)),
        facts_title="Basis",
        facts=_facts(comparison),
    )


def _facts(comparison: PlanComparison) -> tuple[Fact, ...]:
    """List where tasks run in either plan, how sure that is, and what only one guesses."""
    this, other = comparison.this, comparison.other
    facts = [
        Fact(name="Regions", texts=_both(_regions(this), _regions(other))),
        Fact(
            name="Objective",
            texts=_both(wording.objective(this.objective), wording.objective(other.objective)),
        ),
        Fact(
            name="Placement",
            texts=_both(
                wording.optimality(this.gap, this.solver),
                wording.optimality(other.gap, other.solver),
            ),
        ),
    ]
    if not comparison.same_graph:
        facts.append(Fact(name="Work", texts=("the plans make their results by other tasks",)))
    unknown = (*_only("this", this, other), *_only("other", other, this))
    return (*facts, Fact(name="Unknown", texts=unknown or ("the same in both",)))


def _both(this: str, other: str) -> tuple[str, ...]:
    return (f"both: {this}",) if this == other else (f"this: {this}", f"other: {other}")


def _regions(plan: PlanRecord) -> str:
    return ", ".join(map(str, plan.regions))


def _only(which: str, plan: PlanRecord, than: PlanRecord) -> Iterator[str]:
    for unknown in plan.unknowns:
        if unknown not in than.unknowns:
            yield f"{which}: {unknown}"


def _totals(comparison: PlanComparison) -> Table:
    this, other = comparison.this, comparison.other

    def row(label: str, one: float, two: float, write: Callable[[Any], str]) -> Row:
        figures = (
            write(one),
            write(two),
            formatting.difference(two - one, write),
            formatting.ratio(two, one),
        )
        return Row(label=label, figures=figures)

    n_boundaries = len(this.boundaries), len(other.boundaries)
    return Table(
        title="All that moves",
        headings=("this", "other", "difference", ""),
        rows=(
            row("boundary values", *n_boundaries, "{:,}".format),
            row("bytes", this.nbytes_moved, other.nbytes_moved, formatting.nbytes),
            row("USD", this.usd, other.usd, _usd),
            row("time, one pair after another", this.seconds, other.seconds, formatting.seconds),
            row("time, pairs at the same time", this.makespan, other.makespan, formatting.seconds),
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
            notes=(Note(text=f"{wording.WHY[each.why]}: {shown}"),),
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
