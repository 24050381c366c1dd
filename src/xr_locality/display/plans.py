"""Plans as a user sees them: a record with text, HTML, a drawing, a comparison, execution."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol, Self

from xr_locality.plan.model import PlanRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from xr_locality.display.plan_comparison import PlanComparison

__all__ = ["Executor", "Plan"]


class Executor(Protocol):
    """An object that runs plans: a session."""

    def execute(self, plan: Plan, *, asynchronous: bool = False) -> Any:
        """Run a plan; see :meth:`Plan.execute`."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Plan(PlanRecord):
    """What will run where, which bytes cross between regions, and what they cost.

    Made by :func:`xr_locality.plan`; nothing has been started or read. The cost comes
    from the prices that the placement minimised.

    Attributes
    ----------
    regions : tuple of Region
        Where tasks run.
    sources : tuple of Source
        What is read, and from which region.
    placement : mapping of key to Region
        Over the keys of the unoptimised graph.
    transfers : sequence of Transfer
        Everything that crosses between regions; made while it is iterated.
    usd, seconds : float
        Cost of the transfers; seconds take the pairs of regions one after another.
    objective : {"usd", "bytes", "seconds"}
        What the placement minimised.
    lower_bound : float
        No placement costs less than this, in the objective's unit.
    gap : float
        How far the cost may be above the optimum, as a share of the cost; 0.0 is
        proven optimal.
    solver : str
        Name of the solver that placed the tasks.
    unknowns : tuple of str
        What was guessed, why, and how to state it.
    client : Region
        Where results go.
    prices_as_of : str
        Date of the oldest list price used.
    partitions : tuple of Partition
        One for each region.
    boundaries : tuple of Boundary
        Values made in one region and needed in others.
    bundle : Bundle
        What is computed.
    costs : CostModel
        Prices of the moves.
    reads : Reads
        Stored bytes read of each source.
    other_ways : callable
        Makes the baselines.
    replicas : tuple of ReplicaRead
        What each region reads of sources that have replicas.
    budget : Budget or None
        The most that the plan may move.
    executor : Executor
        The session that made the plan, which executes it.
    """

    executor: Executor = field(repr=False)

    @classmethod
    def from_record(cls, record: PlanRecord, *, executor: Executor) -> Self:
        """Make a plan of a record.

        Parameters
        ----------
        record : PlanRecord
            As planning made it.
        executor : Executor
            What executes the plan.

        Returns
        -------
        Plan
        """
        values = {each.name: getattr(record, each.name) for each in fields(PlanRecord)}
        return cls(**values, executor=executor)

    def execute(self, *, asynchronous: bool = False) -> Any:
        """Run the plan in its session.

        Parameters
        ----------
        asynchronous : bool, optional
            Return at once what is to be awaited; cancelling the await cancels the run
            in every region.

        Returns
        -------
        object or tuple, or coroutine of it
            What was planned, computed: one object for one, a tuple for several.
        """
        return self.executor.execute(self, asynchronous=asynchronous)

    def compare(self, other: PlanRecord) -> PlanComparison:
        """Put another plan of the same work beside this one.

        Parameters
        ----------
        other : Plan
            Made with other endpoints, which may be only named, or another policy.

        Returns
        -------
        PlanComparison
            Shows itself as text and in notebooks. No store is asked.

        Raises
        ------
        PlacementError
            If the results of the plans differ in kind, shape or type.

        Examples
        --------
        >>> import dask.array as da
        >>> import xr_locality as xl
        >>> field = xl.tag(da.ones((100, 100), chunks=50), "aws:us-west-2")
        >>> now = xl.plan(field.sum(axis=0), endpoints={"gcp:us-central1": None},
        ...               missing_endpoint="nearest")
        >>> then = xl.plan(field.sum(axis=0), endpoints={"aws:us-west-2": None})
        >>> print(now.compare(then).headline)
        the other plan moves 800 B instead of 78.91 kiB, for < 0.0001 USD instead of < 0.0001 USD
        """
        from xr_locality.display.plan_comparison import compare_plans

        return compare_plans(self, other)

    def explain(self) -> str:
        """Describe the plan as text: what runs where, which bytes cross, at what cost."""
        from xr_locality.display.plan_page import plan_page
        from xr_locality.display.text import lay_out

        return lay_out(plan_page(self))

    def to_dict(self) -> dict[str, Any]:
        """Make a JSON-ready summary, aggregated by region and by crossing."""
        from xr_locality.display.summary import summarise

        return summarise(self).to_dict()

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the regions and the bytes between them with matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; new axes if not given.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed (extra ``plot``).
        """
        from xr_locality.display.plot import plot

        return plot(self, ax=ax)

    def __str__(self) -> str:
        return self.explain()

    def _repr_html_(self) -> str:
        from xr_locality.display.html import render
        from xr_locality.display.plan_page import plan_page

        return render(plan_page(self))
