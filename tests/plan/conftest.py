"""Small plans and reports: two local stores said to lie in two clouds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xr_locality as xl
from xr_locality.display.plans import Plan
from xr_locality.display.reports import Report
from xr_locality.execution.metrics.report import RegionReport
from xr_locality.regions.region import LOCAL, Region

OREGON = Region.parse("aws:us-west-2")
IOWA = Region.parse("gcp:us-central1")

#: Endpoints that are only named.
ENDPOINTS = {str(OREGON): None, str(IOWA): None}

#: By the list prices either region may combine both for the same money: so that only Oregon
#: does, results from Iowa are dearer.
PRICES = {f"{IOWA} -> local": 0.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A dataset in each of two regions, with a variable ``t``."""

    oregon: xr.Dataset
    iowa: xr.Dataset

    @property
    def difference(self) -> xr.DataArray:
        """A map of each region's mean, subtracted: one value crosses."""
        return self.oregon.t.mean("time") - self.iowa.t.mean("time")


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Write two stores of 240,000 bytes, not compressed, in chunks of ten steps."""
    values = np.arange(100 * 20 * 30, dtype="f4").reshape(100, 20, 30)
    dataset = xr.Dataset({"t": (("time", "y", "x"), values)}).chunk(time=10)
    directory = tmp_path_factory.mktemp("stores")
    paths = directory / "a.zarr", directory / "b.zarr"
    for path in paths:
        dataset.to_zarr(path, zarr_format=2, encoding={"t": {"compressors": None}})
    return paths


@pytest.fixture
def pair(stores: tuple[Path, Path]) -> Pair:
    """Open the stores, one said to lie in Oregon, one in Iowa."""
    oregon, iowa = (xr.open_zarr(path, chunks={}) for path in stores)
    return Pair(oregon=xl.tag(oregon, OREGON), iowa=xl.tag(iowa, IOWA))


@pytest.fixture
def make_plan(pair: Pair) -> Callable[..., Plan]:
    """Plan something, by default the difference of the pair, for named endpoints."""

    def make(collection: Any = None, **policy: Any) -> Plan:
        planned = pair.difference if collection is None else collection
        return xl.plan(planned, **{"endpoints": ENDPOINTS, "prices": PRICES, **policy})

    return make


@pytest.fixture
def plan(make_plan: Callable[..., Plan]) -> Plan:
    """Plan the difference: 2,400 bytes to Oregon, 2,400 to the client."""
    return make_plan()


@pytest.fixture
def make_report(plan: Plan) -> Callable[..., Report]:
    """Report a run of the plan; by default it went as predicted."""

    def make(**measured: Any) -> Report:
        facts = {
            "moved": {(IOWA, OREGON): 2_400, (OREGON, LOCAL): 2_400},
            "usd": 0.5,
            "seconds": 1.25,
            "by_region": {
                OREGON: RegionReport(tasks=17, seconds=3.0),
                IOWA: RegionReport(tasks=14, seconds=2.0),
            },
            "retries": 0,
            "plan": plan,
        }
        return Report(**{**facts, **measured})

    return make
