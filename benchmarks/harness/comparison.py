"""Every workload by every way to do it, run on a testbed and measured.

What :mod:`benchmarks.harness.table` predicts, this runs: each way computes the same answer
from the same stores on the same clusters, and what crosses between the regions is counted.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeAlias

import fsspec
import xarray as xr
from dask.base import compute

from benchmarks.harness.workloads import Opener, Workload
from xr_locality.display.plans import Plan
from xr_locality.errors import ExecutionError
from xr_locality.graph.collections import unpack
from xr_locality.placement.costs import CostModel
from xr_locality.placement.greedy import place_forward
from xr_locality.placement.problem import PlacementProblem, Prices, evaluate
from xr_locality.placement.solve import Placement
from xr_locality.plan.build import build_plan
from xr_locality.regions.region import LOCAL, Region
from xr_locality.session import Session

__all__ = [
    "WAYS",
    "CrossingCounter",
    "SizedWorkload",
    "WayComparison",
    "WayRun",
    "WayRunner",
    "Work",
]

Moved: TypeAlias = Mapping[tuple[Region, Region], int]

#: The ways to do some work, as they are named in tables.
WAYS: Final = ("local", "best single region", "split by hand", "greedy forward", "plan")

#: Ways whose first run of some work opens what later ones find open.
_KEEPS_WARM: Final = ("split by hand", "greedy forward", "plan")

#: Ways that take so long that once is enough.
_LONG: Final = ("local", "best single region")

#: Threads with which this process pulls: more than it has cores, so that waiting for one
#: chunk does not keep it from asking for the next.
_PULLING_THREADS: Final = 8


class CrossingCounter(Protocol):
    """Counts what crosses between regions, whoever sends it."""

    def read(self) -> Moved:
        """Tell the bytes of each ordered pair so far."""
        ...


class Work(Protocol):
    """Something to be computed, lazily at once or by hand."""

    def lazy(self) -> Any:
        """Make the lazy object."""
        ...

    def by_hand(self, compute: Callable[[Mapping[Region, Any]], Mapping[Region, Any]]) -> Any:
        """Compute it with a client for each region."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SizedWorkload:
    """A workload of one size, over stores that are there.

    Attributes
    ----------
    workload : Workload
        What is computed.
    opener : callable
        Opens its datasets.
    scale, shrink : int
        As :meth:`~benchmarks.harness.workloads.Workload.build` takes them.
    """

    workload: Workload
    opener: Opener
    scale: int = 1
    shrink: int = 1

    def lazy(self) -> Any:
        """Make the lazy object."""
        return self.workload.build(self.scale, shrink=self.shrink, opener=self.opener)

    def by_hand(self, compute: Callable[[Mapping[Region, Any]], Mapping[Region, Any]]) -> Any:
        """Compute it with a client for each region."""
        return self.workload.run_by_hand(
            compute, scale=self.scale, shrink=self.shrink, opener=self.opener
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WayRun:
    """What one way took.

    Attributes
    ----------
    seconds : float
        That the user waited, at the median of the rounds.
    moved : mapping of (Region, Region) to int
        Bytes that crossed in one round, at the median.
    usd : float
        What they cost.
    """

    seconds: float
    moved: Moved
    usd: float

    @property
    def nbytes(self) -> int:
        """All bytes that crossed."""
        return sum(self.moved.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class WayComparison:
    """One piece of work, done in every way.

    Attributes
    ----------
    runs : mapping of str to WayRun
        By name of the way.
    plan : Plan
        What was predicted of the way ``plan``.
    """

    runs: Mapping[str, WayRun]
    plan: Plan = field(repr=False)

    def ratio(self, way: str, *, over: str = "plan") -> float:
        """Divide the seconds of one way by those of another."""
        return self.runs[way].seconds / self.runs[over].seconds

    def nbytes_ratio(self, way: str, *, over: str = "plan") -> float:
        """Divide the bytes of one way by those of another."""
        return self.runs[way].nbytes / max(1, self.runs[over].nbytes)


class WayRunner:
    """Clusters in some regions, on which work is done in every way.

    Parameters
    ----------
    clusters : mapping of Region to object
        Anything that a Session takes, with a ``get_client`` method as dask-gateway's
        clusters have it. They stay open.
    crossings : CrossingCounter
        Counts what crosses.
    costs : CostModel, optional
        Prices what crosses; by default the shipped tables.
    """

    def __init__(
        self,
        clusters: Mapping[Region, Any],
        *,
        crossings: CrossingCounter,
        costs: CostModel | None = None,
    ) -> None:
        self._clusters = dict(clusters)
        self._crossings = crossings
        self._costs = costs or CostModel()
        self._stack = ExitStack()
        self._clients: dict[Region, Any] = {}
        self._session = Session(clusters, objective="bytes", client_region=str(LOCAL))
        self._alone: dict[Region, Session] = {}

    def __enter__(self) -> Self:
        for region, cluster in self._clusters.items():
            client = cluster.get_client(set_as_default=False)
            self._clients[region] = self._stack.enter_context(client)
            self._alone[region] = self._stack.enter_context(
                Session({region: cluster}, missing_endpoint="nearest", client_region=str(LOCAL))
            )
        self._stack.enter_context(self._session)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def compare(
        self, work: Work, *, ways: tuple[str, ...] = WAYS, rounds: int = 1
    ) -> WayComparison:
        """Do some work in every way, in turns.

        Ways that keep links or modules from run to run are run once before, unmeasured.

        Parameters
        ----------
        work : Work
            What is computed.
        ways : tuple of str
            Names of `WAYS`.
        rounds : int
            How often each; pulling and the best single region, which take long, once.

        Returns
        -------
        WayComparison
            Of the medians of all rounds.

        Raises
        ------
        ExecutionError
            If two ways do not give the same answer.
        """
        for way in (each for each in ways if each in _KEEPS_WARM):
            self._run(way, work)
        samples: dict[str, list[WayRun]] = {way: [] for way in ways}
        for number in range(rounds):
            answers = {}
            # Turned round each time, so that none is always the first.
            for way in ways if number % 2 else reversed(ways):
                if number and way in _LONG:
                    continue
                sample, answers[way] = self._run(way, work)
                samples[way].append(sample)
            _check_same(answers)
        plan = self._session.plan(work.lazy())
        return WayComparison(
            runs={way: self._median(each) for way, each in samples.items()}, plan=plan
        )

    def best_alone(self, work: Work) -> Region:
        """Find the region to which the fewest bytes would go if all ran there."""
        plan = self._session.plan(work.lazy())
        baselines = {
            region: plan.baselines[f"all in {region}"].nbytes for region in sorted(self._clusters)
        }
        return min(baselines, key=baselines.__getitem__)

    def read_rate(
        self,
        urls: Sequence[str],
        storage_options: Mapping[str, Any],
        *,
        region: Region,
        concurrency: int,
    ) -> float:
        """Let a worker of a region read objects, and tell its bytes a second.

        Parameters
        ----------
        urls : sequence of str
            Of one protocol.
        storage_options : mapping
            What fsspec needs to read them.
        region : Region
            Whose worker.
        concurrency : int
            Objects that are asked for at once.
        """
        done = self._clients[region].submit(
            _read, list(urls), dict(storage_options), concurrency, pure=False
        )
        rate: float = done.result()
        return rate

    def _run(self, way: str, work: Work) -> tuple[WayRun, Any]:
        do = self._ways()[way]
        # What is planned with is asked before the clock starts: it is the baseline's choice.
        prepared = do(work)
        before = self._crossings.read()
        started = time.perf_counter()
        answer = prepared()
        seconds = time.perf_counter() - started
        moved = _difference(self._crossings.read(), before)
        return WayRun(seconds=seconds, moved=moved, usd=self._usd(moved)), answer

    def _ways(self) -> Mapping[str, Callable[[Work], Callable[[], Any]]]:
        return {
            "local": lambda work: (
                lambda: compute(work.lazy(), scheduler="threads", num_workers=_PULLING_THREADS)[0]
            ),
            "best single region": self._in_one,
            "split by hand": lambda work: lambda: work.by_hand(self._compute_by_hand),
            "greedy forward": lambda work: lambda: self._greedily(work.lazy()),
            "plan": lambda work: lambda: self._session.compute(work.lazy())[0],
        }

    def _in_one(self, work: Work) -> Callable[[], Any]:
        session = self._alone[self.best_alone(work)]
        return lambda: session.compute(work.lazy())[0]

    def _compute_by_hand(self, lazy: Mapping[Region, Any]) -> Mapping[Region, Any]:
        futures = {region: self._clients[region].compute(each) for region, each in lazy.items()}
        return {region: future.result() for region, future in futures.items()}

    def _greedily(self, lazy: Any) -> Any:
        """Place each task where its inputs are, as it comes, and run that."""
        context = replace(self._session.plan_context(), solver=forward)
        record = build_plan(unpack(lazy), context)
        return Plan.from_record(record, executor=self._session).execute()

    def _median(self, samples: list[WayRun]) -> WayRun:
        pairs = sorted({pair for sample in samples for pair in sample.moved})
        moved = {
            pair: int(statistics.median(sample.moved.get(pair, 0) for sample in samples))
            for pair in pairs
        }
        return WayRun(
            seconds=statistics.median(sample.seconds for sample in samples),
            moved=moved,
            usd=self._usd(moved),
        )

    def _usd(self, moved: Moved) -> float:
        return sum(self._costs.usd(*pair, nbytes) for pair, nbytes in sorted(moved.items()))


def _read(urls: list[str], storage_options: dict[str, Any], concurrency: int) -> float:
    """Read objects, on a worker, and return the bytes a second."""
    fs, _ = fsspec.url_to_fs(urls[0], **storage_options)
    # A first request opens the connection, which the clock is not to see.
    fs.cat_file(urls[0], start=0, end=1)
    with ThreadPoolExecutor(concurrency) as threads:
        started = time.perf_counter()
        nbytes = sum(map(len, threads.map(fs.cat_file, urls)))
        return nbytes / (time.perf_counter() - started)


def forward(problem: PlacementProblem, prices: Prices) -> Placement:
    """Place each task where its inputs are cheapest to bring, in order of the graph.

    What dask-worker-pools does on one scheduler that knows regions.
    """
    placed = place_forward(problem, prices)
    return Placement(
        placed=placed,
        cost=evaluate(problem, placed, prices.objective),
        lower_bound=0,
        solver="greedy forward",
    )


def _difference(after: Moved, before: Moved) -> Moved:
    return {
        pair: nbytes - before.get(pair, 0)
        for pair, nbytes in sorted(after.items())
        if nbytes > before.get(pair, 0)
    }


def _check_same(answers: Mapping[str, Any]) -> None:
    # A split by hand may add in another order.
    (first, expected), *others = answers.items()
    for way, answer in others:
        try:
            for one, other in zip(_parts(answer), _parts(expected), strict=True):
                xr.testing.assert_allclose(one, other, rtol=1e-4)
        except AssertionError as error:
            raise ExecutionError(
                f"{way!r} does not give what {first!r} gives. A split by hand in "
                "testing/workloads.py may be wrong, or the library is."
            ) from error


def _parts(answer: Any) -> tuple[Any, ...]:
    return answer if isinstance(answer, tuple) else (answer,)
