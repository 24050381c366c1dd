"""Realistic programs over two regions: each plans, runs, and gives the plain answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import xarray as xr
from dask.core import get_dependencies
from dask.utils import ensure_dict
from distributed import Client

import xr_locality as xl
from benchmarks.harness.workloads import WORKLOADS, Workload
from support.answers import assert_same, compute_plainly
from support.clusters import two_clusters
from support.inprocess import run_here
from support.invariants import check_plan
from support.realistic import (
    PROGRAMS,
    REGIONS,
    RealisticProgram,
    open_models,
    write_models,
)
from xr_locality.compat.dask_graph import is_barrier
from xr_locality.session import Session

pytestmark = [
    pytest.mark.slow,
    # Of cells that have no values at all.
    pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning"),
]

ENDPOINTS = dict.fromkeys(REGIONS)
#: What the programs must be about.
TOPICS = {
    "apply_ufunc",
    "bag",
    "combine",
    "concat",
    "cumulative",
    "dataframe",
    "delayed",
    "derived",
    "fft",
    "groupby",
    "interp",
    "linear algebra",
    "map_blocks",
    "masked",
    "merge",
    "quantile",
    "rechunk by p2p",
    "rechunk by tasks",
    "resample",
    "rolling",
    "statistics",
    "where",
}

every_program = pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
programs_of_tasks = pytest.mark.parametrize(
    "program",
    [each for each in PROGRAMS.values() if not each.p2p],
    ids=[name for name, each in PROGRAMS.items() if not each.p2p],
)
programs_of_shuffles = pytest.mark.parametrize(
    "program",
    [each for each in PROGRAMS.values() if each.p2p],
    ids=[name for name, each in PROGRAMS.items() if each.p2p],
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The two stores, written once."""
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def models(stores: tuple[str, str]) -> tuple[xr.Dataset, xr.Dataset]:
    """The two models, each in its region."""
    return open_models(stores)


@pytest.fixture(scope="module")
def clusters() -> Iterator[dict[str, Any]]:
    """A cluster for each region, that reach each other."""
    with two_clusters(processes=True) as made:
        yield made


@pytest.fixture(scope="module")
def split_session(clusters: dict[str, Any]) -> Iterator[Session]:
    """A session that has to split, since it may not read from afar."""
    with Session(clusters, objective="bytes", remote_read="never") as made:
        yield made


def built(program: RealisticProgram, models: tuple[xr.Dataset, xr.Dataset]) -> Any:
    """Build a program, or skip the test where what it needs is missing."""
    if not program.available:
        pytest.skip(f"{program.name} needs {program.needs}, which is not installed")
    return program.build(*models)


def assert_answer(program: RealisticProgram, got: Any, expected: Any) -> None:
    """Assert that an answer is the plain one, to the last bit where the program says so."""
    if program.exact:
        assert_same(got, expected)
    else:
        xr.testing.assert_allclose(got, expected)


def test_every_topic_has_programs() -> None:
    """What users of xarray and dask do is covered, and each program says what it asks."""
    assert {each.topic for each in PROGRAMS.values()} == TOPICS
    questions = [each.question for each in PROGRAMS.values()]
    assert len(set(questions)) == len(PROGRAMS)
    assert all(question.endswith(".") for question in questions)


@every_program
@pytest.mark.parametrize("objective", ["bytes", "usd"])
@pytest.mark.parametrize("remote_read", ["never", "allowed"])
def test_plan_holds_together(
    models: tuple[xr.Dataset, xr.Dataset],
    program: RealisticProgram,
    objective: str,
    remote_read: str,
) -> None:
    """A program's plan reads both regions, keeps the invariants, and is made again alike."""
    lazy = built(program, models)
    policy = {"endpoints": ENDPOINTS, "objective": objective, "remote_read": remote_read}
    plan = xl.plan(lazy, **policy)
    assert {str(source.region) for source in plan.sources} == set(REGIONS)
    check_plan(plan)
    if remote_read == "never":
        assert {str(region) for region in plan.regions} == set(REGIONS)
    assert xl.plan(lazy, **policy).to_dict() == plan.to_dict()


@programs_of_tasks
def test_parts_give_the_plain_answer(
    models: tuple[xr.Dataset, xr.Dataset], program: RealisticProgram
) -> None:
    """However a program is split, its parts together give what dask alone gives."""
    lazy = built(program, models)
    (expected,) = compute_plainly(lazy)
    for objective in ("bytes", "usd"):
        for remote_read in ("never", "allowed"):
            plan = xl.plan(lazy, endpoints=ENDPOINTS, objective=objective, remote_read=remote_read)
            (got,) = run_here(plan)
            assert_answer(program, got, expected)


@programs_of_tasks
def test_two_clusters_give_the_plain_answer(
    split_session: Session, models: tuple[xr.Dataset, xr.Dataset], program: RealisticProgram
) -> None:
    """Two clusters that exchange values give what dask alone gives, and move what was planned."""
    lazy = built(program, models)
    (expected,) = compute_plainly(lazy)
    (got,) = split_session.compute(lazy)
    assert_answer(program, got, expected)
    report = split_session.reports[-1]
    assert report.retries == 0
    assert {str(region) for region in report.by_region} >= set(REGIONS)
    assert set(report.moved) <= set(report.plan.moved)


@pytest.mark.parametrize(
    "workload",
    [each for each in WORKLOADS.values() if set(map(str, each.regions)) <= set(REGIONS)],
    ids=lambda workload: workload.name,
)
def test_declared_stores_travel_to_clusters(split_session: Session, workload: Workload) -> None:
    """Workloads of few cells run on two clusters: workers make the same chunks as this process."""
    lazy = workload.build(2, shrink=30)
    (expected,) = compute_plainly(lazy)
    (got,) = split_session.compute(lazy)
    assert_same(got, expected)


@programs_of_shuffles
def test_shuffles_give_the_answer_of_one_cluster(
    clusters: dict[str, Any],
    split_session: Session,
    models: tuple[xr.Dataset, xr.Dataset],
    program: RealisticProgram,
) -> None:
    """A peer-to-peer shuffle gives in a split what it gives in one cluster of distributed's."""
    lazy = built(program, models)
    with Client(clusters[REGIONS[0]], set_as_default=False) as client:
        (expected,) = compute_plainly(lazy, scheduler=client)
    (got,) = split_session.compute(lazy)
    assert_answer(program, got, expected)


@programs_of_shuffles
def test_a_shuffle_is_one_unit(
    models: tuple[xr.Dataset, xr.Dataset], program: RealisticProgram
) -> None:
    """All that takes part in one peer-to-peer shuffle is placed in one region."""
    lazy = built(program, models)
    for remote_read in ("never", "allowed"):
        plan = xl.plan(lazy, endpoints=ENDPOINTS, objective="bytes", remote_read=remote_read)
        tasks = ensure_dict(plan.bundle.graph())
        barriers = [key for key, task in tasks.items() if is_barrier(task)]
        assert barriers
        for barrier in barriers:
            senders = get_dependencies(tasks, barrier)
            takers = [key for key in tasks if barrier in get_dependencies(tasks, key)]
            assert senders
            assert takers
            places = {plan.placement[key] for key in (barrier, *senders, *takers)}
            assert len(places) == 1, f"{barrier} is in {places}"
