"""A run over an emulated network: the report is what the network itself counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import intake
import numpy as np
import pytest
import xarray as xr

import xr_locality as xl
from xr_locality.testing import EmulatedLink, EmulatedNetwork, Testbed

AWS, GCP, LOCAL = map(xl.Region.parse, ("aws:us-west-2", "gcp:us-central1", "local"))
MISSING = EmulatedNetwork.missing()
#: 200 Mbit/s and 60 ms there and back.
LINK = EmulatedLink(delay_seconds=0.03, bytes_per_second=25e6)
N_VALUES = 500_000
#: TLS, messages around a value, and what a connection says before and after.
FRAMING = 0.005
FRAMING_NBYTES = 64_000
#: What a client says to a scheduler and hears from it in a run: its graph, heartbeats, events.
TALK_NBYTES = 500_000
#: Of a packet of 1500 bytes, over its payload; a packet may be sent again.
HEADERS = 1500 / 1448 - 1 + 0.03

pytestmark = [
    pytest.mark.root,
    pytest.mark.gateway,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {MISSING}"),
]


@pytest.fixture(scope="module")
def bed() -> Iterator[Testbed]:
    """Two regions, whose servers and clusters run in their namespaces."""
    with Testbed([AWS, GCP], network=EmulatedNetwork([AWS, GCP], links=LINK), objects="files") as b:
        yield b


@pytest.fixture(scope="module")
def network(bed: Testbed) -> EmulatedNetwork:
    """What lies between the regions."""
    assert bed.network is not None
    return bed.network


@pytest.fixture(scope="module")
def here() -> dict[str, xr.Dataset]:
    """A dataset for each region, 32 MB in 8 chunks, still in this process's memory."""
    values = np.random.default_rng(0)
    return {
        name: xr.Dataset({"t": (("time", "x"), values.random((8, N_VALUES)))}).chunk(time=1)
        for name in ("a", "b")
    }


@pytest.fixture(scope="module")
def catalog(
    bed: Testbed,
    network: EmulatedNetwork,
    here: dict[str, xr.Dataset],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """A catalog of the datasets, each in its region; writing them crosses no link."""
    before = network.counts()
    regions = {"a": AWS, "b": GCP}
    urls = {name: bed.write(here[name], region, "t.zarr") for name, region in regions.items()}
    assert sum(each.nbytes for each in network.counts(before).values()) < FRAMING_NBYTES
    path: Path = tmp_path_factory.mktemp("catalog") / "catalog.yaml"
    return intake.open_catalog(str(bed.catalog(path, urls)))


@pytest.fixture
def datasets(catalog: Any) -> tuple[xr.Dataset, xr.Dataset]:
    """The datasets, opened through the catalog."""
    return catalog.a.to_dask(), catalog.b.to_dask()


@pytest.fixture(scope="module")
def session(bed: Testbed) -> Iterator[xl.Session]:
    """Both gateways, with a worker each."""
    with xl.Session(bed.endpoints(minimum=1, maximum=1)) as opened:
        yield opened


def test_report_is_what_the_network_counted(
    session: xl.Session,
    network: EmulatedNetwork,
    here: dict[str, xr.Dataset],
    datasets: tuple[xr.Dataset, xr.Dataset],
) -> None:
    """Moved bytes are the payload that crossed each link, less TLS and messages."""
    a, b = datasets
    difference = a.t.mean("time") - b.t.mean("time")
    before = network.counts()
    result = difference.locality.compute()
    counts = network.counts(before)
    expected = here["a"].t.mean("time") - here["b"].t.mean("time")
    np.testing.assert_array_equal(result, expected.compute(scheduler="sync"))
    moved = session.reports[-1].moved
    nbytes = N_VALUES * 8
    assert moved == {(GCP, AWS): nbytes, (AWS, LOCAL): nbytes}

    between = counts[GCP, AWS]
    assert nbytes <= between.payload_nbytes <= nbytes * (1 + FRAMING) + FRAMING_NBYTES
    assert between.nbytes <= between.payload_nbytes * (1 + HEADERS)
    assert counts[AWS, GCP].payload_nbytes <= FRAMING_NBYTES
    home = counts[AWS, LOCAL]
    assert nbytes <= home.payload_nbytes <= nbytes * (1 + FRAMING) + TALK_NBYTES
    for pair in ((GCP, LOCAL), (LOCAL, AWS), (LOCAL, GCP)):
        assert counts[pair].payload_nbytes <= TALK_NBYTES


def test_a_number_crosses_as_a_number(
    session: xl.Session,
    network: EmulatedNetwork,
    here: dict[str, xr.Dataset],
    datasets: tuple[xr.Dataset, xr.Dataset],
) -> None:
    """The difference of two means of all values moves two numbers, and little else crosses."""
    a, b = datasets
    difference = a.t.mean() - b.t.mean()
    before = network.counts()
    result = difference.locality.compute()
    counts = network.counts(before)
    expected = here["a"].t.mean() - here["b"].t.mean()
    assert float(result) == float(expected.compute(scheduler="sync"))
    # Serialised, a number of 8 bytes takes some hundred.
    assert session.reports[-1].nbytes_moved < 500
    assert counts[GCP, AWS].payload_nbytes + counts[AWS, GCP].payload_nbytes <= FRAMING_NBYTES
    assert sum(each.payload_nbytes for each in counts.values()) < a.t.nbytes / 50


def test_pulling_crosses_the_network(
    bed: Testbed, network: EmulatedNetwork, datasets: tuple[xr.Dataset, xr.Dataset]
) -> None:
    """Without xr-locality all stored bytes cross, at the link's rate at most."""
    before = network.counts()
    bed[AWS].objects.clear_requests()
    datasets[0].t.isel(time=slice(2)).mean("time").compute(scheduler="sync")
    stored = sum(
        record.nbytes or 0 for record in bed[AWS].objects.requests() if record.method == "GET"
    )
    crossed = network.counts(before)[AWS, LOCAL].payload_nbytes
    assert stored > 6_000_000
    assert stored <= crossed <= stored * (1 + FRAMING) + FRAMING_NBYTES
