"""Two plans of the same work side by side, to ask what another endpoint would change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from xr_locality.display import formatting
from xr_locality.display.crossings import Crossing, crossings
from xr_locality.errors import PlacementError
from xr_locality.plan.transfers import Why
from xr_locality.regions.region import Region

if TYPE_CHECKING:
    from xr_locality.graph.collections import Part
    from xr_locality.plan.model import Plan

__all__ = ["ComparedCrossing", "PlanComparison", "PlanFigures", "compare_plans"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFigures:
    """What one of two plans moves, and how sure that is.

    Attributes
    ----------
    regions : tuple of Region
        Where tasks run.
    n_boundaries : int
        Values made in one region and needed in others.
    nbytes_moved : int
        Bytes that cross between regions.
    usd, seconds : float
        What they cost, and how long they take, one pair of regions after another.
    makespan : float
        How long they take if pairs of regions move at the same time, in seconds.
    objective : {"usd", "bytes", "seconds"}
        What was kept least.
    gap : float
        0.0 is proven optimal.
    solver : str
        What placed the tasks.
    unknowns : tuple of str
        What was guessed.
    """

    regions: tuple[Region, ...]
    n_boundaries: int
    nbytes_moved: int
    usd: float
    seconds: float
    makespan: float
    objective: str
    gap: float
    solver: str
    unknowns: tuple[str, ...]


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
    this, other : PlanFigures
        The plan asked, and the one that it is compared with.
    crossings : tuple of ComparedCrossing
        What crosses in either, by pair of regions and reason.
    same_graph : bool
        Whether both make their results by the same tasks; if not, they are two ways to
        write the same work.
    """

    this: PlanFigures
    other: PlanFigures
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
        from xr_locality.display.text import contrast

        return contrast(self)

    def _repr_html_(self) -> str:
        from xr_locality.display.html import render_comparison

        return render_comparison(self)


def _figures_to_dict(figures: PlanFigures) -> dict[str, Any]:
    return {
        **asdict(figures),
        "regions": list(map(str, figures.regions)),
        "unknowns": list(figures.unknowns),
    }


def _moved_to_dict(crossing: Crossing | None) -> Mapping[str, Any] | None:
    if crossing is None:
        return None
    return {"n_values": crossing.n_values, "nbytes": crossing.nbytes, "usd": crossing.usd}


def compare_plans(this: Plan, other: Plan) -> PlanComparison:
    """Put two plans of the same work side by side.

    Parameters
    ----------
    this, other : Plan
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
        this=_figures(this),
        other=_figures(other),
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


def _figures(plan: Plan) -> PlanFigures:
    return PlanFigures(
        regions=plan.regions,
        n_boundaries=len(plan.boundaries),
        nbytes_moved=plan.nbytes_moved,
        usd=plan.usd,
        seconds=plan.seconds,
        makespan=plan.makespan,
        objective=plan.objective,
        gap=plan.gap,
        solver=plan.solver,
        unknowns=plan.unknowns,
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


def _layers(plan: Plan) -> list[tuple[str, ...]]:
    """Name the layers that make the results: dask gives equal work equal names."""
    return [part.layers for part in plan.bundle.parts]
