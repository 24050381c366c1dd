"""The engine refuses what may not leave a region, whoever made the plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import xarray as xr

import xr_locality as xl
from xr_locality.display.plans import Plan
from xr_locality.errors import SourceError
from xr_locality.execution.checks.residency_check import check_residency
from xr_locality.execution.progress import Progress
from xr_locality.plan.model import Transfer
from xr_locality.regions.store import Store
from xr_locality.regions.tag import Tag
from xr_locality.regions.tag_registry import REGISTRY

AWS, GCP, LOCAL = map(xl.Region.parse, ("aws:us-west-2", "gcp:us-central1", "local"))
ENDPOINTS = {str(AWS): None, str(GCP): None}

Leaves = Literal["always", "reduced", "never"]


def opened(path: Path, region: xl.Region, leaves: Leaves) -> xr.DataArray:
    """Write a small field, and open it as a catalog with such a tag would."""
    if not path.exists():
        data = xr.Dataset({"t": (("time", "x"), np.arange(24.0).reshape(6, 4))}).chunk(time=2)
        data.to_zarr(path, consolidated=False)
    tag = Tag(region=region, evidence="catalog", leaves=leaves)
    REGISTRY.add(Store.from_url(str(path)), tag, kind="catalog")
    field: xr.DataArray = xr.open_zarr(path, chunks={}, consolidated=False).t
    return field


def deceived(plan: Plan, leaves: Leaves) -> Plan:
    """Make a plan as if nobody had asked what may leave, and say so only then."""
    sources = tuple(
        replace(source, leaves=leaves) if source.region == AWS else source
        for source in plan.sources
    )
    return replace(plan, sources=sources)


@pytest.fixture
def fields(tmp_path: Path) -> tuple[xr.DataArray, xr.DataArray]:
    """One field in each region."""
    a = opened(tmp_path / "a.zarr", AWS, "always")
    return a, opened(tmp_path / "b.zarr", GCP, "always")


def refusal(plan: Plan, *, relay: bool = False, keep: bool = False) -> str:
    """Give the words in which a plan is refused; none if it is not."""
    try:
        check_residency(plan, relay=relay, keep=keep)
    except SourceError as error:
        return str(error)
    return ""


def test_chunks_in_a_boundary(fields: tuple[xr.DataArray, xr.DataArray]) -> None:
    """Chunks that another region would fetch are refused, reduced values of them are not."""
    a, b = fields
    chunks = xl.plan((a - b.isel(x=0)).sum(), endpoints=ENDPOINTS, objective="bytes")
    if AWS not in {boundary.source for boundary in chunks.boundaries}:
        chunks = xl.plan((a.isel(x=0) - b).sum(), endpoints=ENDPOINTS, objective="bytes")
    assert AWS in {boundary.source for boundary in chunks.boundaries}
    means = xl.plan(b.mean("time") - a.mean("time"), endpoints=ENDPOINTS)
    assert refusal(deceived(means, "reduced")) == ""
    assert "values computed from it" in refusal(deceived(means, "never"))
    assert refusal(deceived(chunks, "always")) == ""
    assert "may not leave" in refusal(deceived(chunks, "never"))


def test_results_at_the_client(fields: tuple[xr.DataArray, xr.DataArray]) -> None:
    """Raw results are refused where they would come here, and not where they stay."""
    a, _ = fields
    plan = deceived(xl.plan(a, endpoints=ENDPOINTS), "reduced")
    assert "its chunks to 'local'" in refusal(plan)
    assert refusal(plan, keep=True) == ""
    beside = deceived(xl.plan(a, endpoints=ENDPOINTS, client_region=str(AWS)), "never")
    assert refusal(beside) == ""


def test_partition_that_reads_from_afar(fields: tuple[xr.DataArray, xr.DataArray]) -> None:
    """A partition put by hand into another region would read the stored bytes there."""
    a, _ = fields
    plan = xl.plan(a.mean("time"), endpoints=ENDPOINTS)
    (partition,) = plan.partitions
    moved = replace(
        deceived(plan, "reduced"), partitions=(replace(partition, region=GCP),), regions=(GCP,)
    )
    assert "moves its stored bytes to 'gcp:us-central1'" in refusal(moved)


def test_relay_passes_the_client(fields: tuple[xr.DataArray, xr.DataArray]) -> None:
    """By way of the client a value leaves for the client too; what it says must allow it."""
    a, b = fields
    plan = xl.plan(b.mean("time") - a.mean("time"), endpoints=ENDPOINTS)
    assert refusal(deceived(plan, "reduced"), relay=True) == ""
    assert "may not leave" in refusal(deceived(plan, "never"), relay=True)


def test_single_values_are_checked(fields: tuple[xr.DataArray, xr.DataArray]) -> None:
    """When a fetch is made, or a value is about to be carried, it is checked by itself."""
    a, _ = fields
    plan = deceived(xl.plan(a.mean("time"), endpoints=ENDPOINTS), "reduced")
    residency = check_residency(plan, relay=False, keep=False)
    raw = a.data.__dask_keys__()[0][0]

    def crossing(target: xl.Region) -> Transfer:
        return Transfer(source=AWS, target=target, key=raw, nbytes=0, why="boundary")

    residency.check(crossing(AWS))
    with pytest.raises(SourceError, match="may not leave region 'aws:us-west-2'"):
        residency.check(crossing(GCP))


@pytest.fixture
def session(clusters: dict[str, Any]) -> Iterator[xl.Session]:
    """A session over two clusters."""
    with xl.Session(clusters) as made:
        yield made


def test_nothing_is_sent(session: xl.Session, fields: tuple[xr.DataArray, xr.DataArray]) -> None:
    """A run of such a plan ends before any region is sent anything."""
    a, b = fields
    plan = deceived(session.plan(b.mean("time") - a.mean("time")), "never")
    events: list[Progress] = []
    with pytest.raises(SourceError, match="may not leave"):
        session.execute(plan, callbacks=[events.append])
    assert "submitted" not in [event.what for event in events]
    assert session.reports == []


def test_persisted_data_keep_their_residency(session: xl.Session, tmp_path: Path) -> None:
    """What is persisted in its region may leave it no more than what was read there."""
    never = opened(tmp_path / "never.zarr", AWS, "never")
    held = never.locality.persist()
    with pytest.raises(SourceError, match="may not leave"):
        held.mean().locality.plan()
    with pytest.raises(SourceError, match="may not leave"):
        held.mean().compute()
    reduced = opened(tmp_path / "reduced.zarr", AWS, "reduced")
    chunks, mean = xl.persist(reduced, reduced.mean("time"))
    with pytest.raises(SourceError, match="may not leave"):
        chunks.locality.compute()
    with pytest.raises(SourceError, match="may not leave"):
        chunks.compute()
    expected = reduced.mean("time").compute(scheduler="sync")
    xr.testing.assert_identical(chunks.mean("time").locality.compute(), expected)
    xr.testing.assert_identical(mean.locality.compute(), expected)
    xr.testing.assert_identical(mean.compute(), expected)
