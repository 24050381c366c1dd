"""Measures region against cross-region on an emulated WAN, section by section."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from benchmarks.harness.comparison import WAYS, Moved, SizedWorkload, WayComparison, WayRunner, Work
from benchmarks.harness.declared import DeclaredVariable
from benchmarks.harness.precipitation import Precipitation
from benchmarks.harness.results import Machine, MeasuredResults, ScaleResult, WayResult, WorkResult
from benchmarks.harness.simulation import SHAPES, cloud_regions, simulate
from benchmarks.harness.stored import StoredDatasets
from benchmarks.harness.workloads import AWS, AZURE, GCP, WORKLOADS, Opener
from xr_locality.errors import ConfigurationError, ExecutionError
from xr_locality.placement.costs import CostModel
from xr_locality.placement.solve import solve
from xr_locality.regions.region import Region
from xr_locality.testing.network import EmulatedLink, EmulatedNetwork
from xr_locality.testing.testbed import Testbed

__all__ = ["SECTIONS", "Means", "describe", "measure", "measure_reading"]

#: What can be measured.
SECTIONS: Final = ("reductions", "notebook", "workloads", "scale")

_ROUND_TRIP_SECONDS: Final = 0.06
_MBIT: Final = 125_000
#: Of the network between each two regions, for what is measured at one rate.
_RATE: Final = 200 * _MBIT
_SLOW: Final = 50 * _MBIT
#: Of the largest synthetic graphs, and the stored bytes that these read.
_MOST_TASKS: Final = 10**6
_PETABYTE: Final = 10**15
#: Cells along each axis of a chunk of 16 MB.
_CELLS: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """The difference of two means over all cells, each of data in its own region.

    Attributes
    ----------
    n_chunks : int
        Of each dataset, of 16 MB as stored.
    opener : callable
        Opens them.
    """

    n_chunks: int
    opener: Opener

    def _mean(self, name: str, region: Region) -> Any:
        coords: dict[str, Any] = {
            "time": (np.arange(self.n_chunks), {}),
            "y": (np.arange(_CELLS), {}),
            "x": (np.arange(_CELLS), {}),
        }
        variable = DeclaredVariable(dims=("time", "y", "x"), chunks=(1, _CELLS, _CELLS), dtype="f4")
        opened = self.opener(f"{name}-{self.n_chunks}", region, coords, {"t": variable})
        return opened.t.mean()

    def lazy(self) -> Any:
        """Make the difference, lazily."""
        return self._mean("one", AWS) - self._mean("two", GCP)

    def by_hand(self, compute: Callable[[Mapping[Region, Any]], Mapping[Region, Any]]) -> Any:
        """Compute each mean with a client of its own."""
        means = compute({AWS: self._mean("one", AWS), GCP: self._mean("two", GCP)})
        return means[AWS] - means[GCP]


def measure(
    sections: Sequence[str] = SECTIONS,
    *,
    quick: bool = False,
    command: str = "",
    report: Callable[[str], None] = lambda _: None,
) -> MeasuredResults:
    """Measure what this library claims.

    Parameters
    ----------
    sections : sequence of str
        Which of :data:`SECTIONS`.
    quick : bool
        Less data, and each way once.
    command : str
        The command that measures the same again.
    report : callable
        Called with each result as text.

    Returns
    -------
    MeasuredResults

    Raises
    ------
    ConfigurationError
        If a section is not known, or the emulated network cannot run here.
    """
    if unknown := set(sections) - set(SECTIONS):
        raise ConfigurationError(
            f"No such section: {', '.join(sorted(unknown))}. There are {', '.join(SECTIONS)}."
        )
    works: list[WorkResult] = []
    rate = 0.0
    if set(sections) != {"scale"}:
        if missing := EmulatedNetwork.missing():
            raise ConfigurationError(
                f"The emulated network between regions cannot run here: {missing}. "
                "Only 'scale' can be measured."
            )
        with _regions() as place:
            for section in (each for each in sections if each != "scale"):
                for work in _MEASURED[section](place, quick):
                    report(describe(work))
                    works.append(work)
            rate = place.read_rate(quick=quick)
    scale = []
    for each in _scale(quick=quick) if "scale" in sections else ():
        report(
            f"{each.shape}, {each.n_regions} regions, {each.n_tasks:,} tasks: placed in "
            f"{each.seconds:.2f} s, at most {each.gap:.1%} above the best"
        )
        scale.append(each)
    return MeasuredResults(
        machine=Machine.this(),
        command=command,
        read_bytes_per_second=rate,
        works=tuple(works),
        scale=tuple(scale),
    )


def describe(work: WorkResult) -> str:
    """Describe a result in a few lines."""
    lines = [f"{work.section}: {work.name}"]
    lines += [
        f"  {name:<20} {way.seconds:8.2f} s  {way.nbytes / 1e6:10.2f} MB  "
        f"{work.times(name):6.2f} × seconds  {work.nbytes_times(name):8.1f} × bytes"
        for name, way in work.ways.items()
    ]
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Place:
    """Three regions with a cluster each, joined by an emulated WAN."""

    network: EmulatedNetwork
    opener: StoredDatasets
    runner: WayRunner

    def set_rate(self, bytes_per_second: float) -> None:
        regions = [AWS, GCP, AZURE, Region.parse("local")]
        for number, one in enumerate(regions):
            for other in regions[number + 1 :]:
                for pair in ((one, other), (other, one)):
                    self.network.set_link(*pair, bytes_per_second=bytes_per_second)

    def read_rate(self, *, quick: bool) -> float:
        """Return the stored bytes a second that both regions read, each from beside it."""
        work = Means(n_chunks=8 if quick else 40, opener=self.opener)
        run = self.runner.compare(work, ways=("split by hand",), rounds=2).runs["split by hand"]
        return 2 * work.n_chunks * _CELLS**2 * 4 / run.seconds


@contextmanager
def _regions() -> Iterator[_Place]:
    link = EmulatedLink(delay_seconds=_ROUND_TRIP_SECONDS / 2, bytes_per_second=_RATE)
    with ExitStack() as stack:
        network = EmulatedNetwork([AWS, GCP, AZURE], links=link)
        bed = stack.enter_context(Testbed(network=network, objects="files"))
        clusters = {each.region: stack.enter_context(each.cluster()) for each in bed}
        runner = stack.enter_context(WayRunner(clusters, crossings=_Counted(network)))
        place = _Place(network, StoredDatasets(bed), runner)
        # Links are opened and modules imported once.
        runner.compare(Means(n_chunks=1, opener=place.opener))
        yield place


def measure_reading(*, nbytes: int = 32 * 10**6) -> Mapping[tuple[str, str, int], float]:
    """Measure how fast a region's workers read stored chunks, beside them and from elsewhere.

    Parameters
    ----------
    nbytes : int
        Stored bytes that are read each time.

    Returns
    -------
    mapping of (reader, chunk, concurrency) to float
        Bytes a second, by ``"in-region"`` or ``"cross-region"``, the size of chunks in
        words, and how many are asked for at once. The network is as for the rest: 60 ms
        and 200 Mbit/s.
    """
    rates = {}
    with _regions() as place:
        for megabytes in (1, 16):
            name, keys = f"chunks-{megabytes}", nbytes // (megabytes * 10**6)
            place.opener(
                name,
                AWS,
                {"x": (np.arange(keys * megabytes * 10**6 // 4), {})},
                {"t": DeclaredVariable(dims=("x",), chunks=(megabytes * 10**6 // 4,), dtype="f4")},
            )
            objects = place.opener.bed[AWS].objects
            urls = [objects.url(f"{name}.zarr/t/c/{number}") for number in range(keys)]
            for reader, region in (("in-region", AWS), ("cross-region", GCP)):
                for concurrency in (1, 8):
                    rates[reader, f"{megabytes} MB", concurrency] = place.runner.read_rate(
                        urls, objects.storage_options, region=region, concurrency=concurrency
                    )
    return rates


@dataclass(frozen=True, slots=True)
class _Counted:
    network: EmulatedNetwork

    def read(self) -> Moved:
        return {pair: each.payload_nbytes for pair, each in self.network.counts().items()}


def _reductions(place: _Place, quick: bool) -> Iterator[WorkResult]:
    for rate in (_SLOW, _RATE):
        place.set_rate(rate)
        work = Means(n_chunks=4 if quick else 64, opener=place.opener)
        compared = place.runner.compare(work, rounds=1 if quick else 3)
        yield _result(
            "reductions",
            f"{rate / _MBIT:.0f} Mbit/s",
            f"The difference of two means, each of {work.n_chunks} chunks of 16 MB.",
            compared,
            rate,
        )
    place.set_rate(_RATE)


def _notebook(place: _Place, quick: bool) -> Iterator[WorkResult]:
    work = Precipitation(hours=96 if quick else 480, shrink=4 if quick else 2, opener=place.opener)
    yield _result(
        "notebook",
        "the notebook of 2020",
        "Histograms of six-hourly precipitation of two datasets in two clouds.",
        place.runner.compare(work, rounds=1 if quick else 3),
        _RATE,
    )


def _workloads(place: _Place, quick: bool) -> Iterator[WorkResult]:
    for name, workload in WORKLOADS.items():
        work: Work = SizedWorkload(
            workload=workload, opener=place.opener, scale=1, shrink=3 if quick else 1
        )
        compared = place.runner.compare(work, rounds=1 if quick else 2)
        yield _result("workloads", name, workload.description, compared, _RATE)


_MEASURED: Final[Mapping[str, Callable[[_Place, bool], Iterator[WorkResult]]]] = {
    "reductions": _reductions,
    "notebook": _notebook,
    "workloads": _workloads,
}


def _result(
    section: str, name: str, description: str, compared: WayComparison, rate: float
) -> WorkResult:
    plan, runs = compared.plan, compared.runs
    if plan.gap > 0:
        raise ExecutionError(f"The plan of {name!r} is not proven to move the fewest bytes.")
    return WorkResult(
        section=section,
        name=name,
        description=description,
        round_trip_seconds=_ROUND_TRIP_SECONDS,
        bytes_per_second=rate,
        predicted_nbytes=plan.nbytes_moved,
        bound_nbytes=int(plan.lower_bound),
        planned_nbytes=sum(runs["plan"].moved.get(pair, 0) for pair in plan.moved),
        ways={
            way: WayResult(seconds=runs[way].seconds, nbytes=runs[way].nbytes, usd=runs[way].usd)
            for way in WAYS
        },
    )


def _scale(*, quick: bool) -> Iterator[ScaleResult]:
    sizes = (10**3, 10**4, 10**5) if quick else (10**3, 10**4, 10**5, _MOST_TASKS)
    for shape in ("reduction", "mask-and-difference", "halo"):
        for n_regions in (2, 30):
            for n_tasks in sizes:
                if shape == "reduction" or n_regions == 2 or n_tasks <= 10**4:
                    yield _place_synthetic(shape, n_regions, n_tasks)


def _place_synthetic(shape: str, n_regions: int, n_tasks: int) -> ScaleResult:
    graph = SHAPES[shape](n_tasks, cloud_regions(n_regions))
    if n_tasks == _MOST_TASKS:
        graph.grow(_PETABYTE)
    simulated = simulate(graph, objective="bytes")
    problem = graph.problem()
    prices = CostModel().prices("bytes", problem.places)
    tracemalloc.start()
    try:
        solve(problem, prices)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return ScaleResult(
        shape=shape,
        n_regions=n_regions,
        n_tasks=graph.n_tasks,
        stored_nbytes=graph.stored_nbytes,
        seconds=simulated.seconds,
        peak_nbytes=peak,
        gap=simulated.gap,
        moved_nbytes=simulated.ways["plan"].nbytes,
        alone_nbytes=simulated.ways["best single region"].nbytes,
    )
