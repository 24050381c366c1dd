"""Results of one piece of work and one placement, for tests."""

from __future__ import annotations

from benchmarks.harness.results import Machine, MeasuredResults, ScaleResult, WayResult, WorkResult


def make_results() -> MeasuredResults:
    """Make results of one piece of work and one placement."""
    ways = {
        "plan": WayResult(seconds=2.0, nbytes=1_000, usd=0.5),
        "local": WayResult(seconds=20.0, nbytes=500_000, usd=50.0),
    }
    work = WorkResult(
        section="reductions",
        name="200 Mbit/s",
        description="The difference of two means <of data>.",
        round_trip_seconds=0.06,
        bytes_per_second=25e6,
        predicted_nbytes=900,
        bound_nbytes=900,
        planned_nbytes=905,
        ways=ways,
    )
    scale = ScaleResult(
        shape="halo",
        n_regions=2,
        n_tasks=1_000,
        stored_nbytes=10**9,
        seconds=0.1,
        peak_nbytes=10**6,
        gap=0.0,
        moved_nbytes=10**6,
        alone_nbytes=10**7,
    )
    return MeasuredResults(
        machine=Machine.this(),
        command="python -m benchmarks run",
        read_bytes_per_second=5e8,
        works=(work,),
        scale=(scale,),
    )
