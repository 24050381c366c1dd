from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.core import flatten
from dask.typing import Key

from support.plan_builders import IOWA, IRELAND, OREGON, context, reads_of, stored
from xr_locality.plan.place import Placed, place
from xr_locality.plan.read_estimates import Reads
from xr_locality.regions.region import LOCAL, Region
from xr_locality.sources.storage import zarr as finder


def placed(reads: Reads, **changes: Any) -> Placed:
    """Place some reads by bytes, over all regions that hold something."""
    survey = reads.survey
    located = {region for regions in survey.layers.values() for region in regions}
    hosts = {region: region for region in located | set(survey.pins.values())}
    costs = context().costs
    stated: dict[str, Any] = {
        "hosts": hosts,
        "usable": (),
        "client": LOCAL,
        "prices": lambda places: costs.prices("bytes", places),
        "remote_read": False,
        **changes,
    }
    return place(reads, **stated)


def where_of(*objects: Any, **changes: Any) -> dict[Key, Region]:
    """Place objects, and name where each task runs."""
    reads = reads_of(*objects)
    found = placed(reads, **changes)
    return {
        reads.structure.key(number): found.places[place]
        for number, place in enumerate(found.where.tolist())
        if place >= 0
    }


def regions_of(where: dict[Key, Region], array: da.Array) -> set[Region]:
    """Gather the regions that an array's own layer runs in."""
    return {region for key, region in where.items() if key[0] == array.name}  # type: ignore[index]


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note which stores are asked for their stored bytes."""
    asked: list[str] = []
    real = finder._stored_nbytes
    monkeypatch.setattr(
        finder, "_stored_nbytes", lambda array: (asked.append(array), real(array))[1]
    )
    return asked


def test_layers_over_one_region_stay_there() -> None:
    """What depends on one region's data runs beside it."""
    one, other = stored(OREGON), stored(IOWA)
    means = one.mean(0), other.mean(0)
    where = where_of(means[0] - means[1])
    assert regions_of(where, one) == regions_of(where, means[0]) == {OREGON}
    assert regions_of(where, other) == regions_of(where, means[1]) == {IOWA}


def test_concatenated_chunks_stay_where_they_are() -> None:
    """One layer of a concatenation has keys in both regions, each beside its data."""
    doubled = da.concatenate([stored(OREGON), stored(IOWA)]) * 2
    where = where_of(doubled.sum())
    assert {key: region for key, region in where.items() if key[0] == doubled.name} == {
        key: OREGON if key[1] < 4 else IOWA for key in flatten(doubled.__dask_keys__())
    }


def test_stores_run_nowhere_and_are_read_in_their_own_region() -> None:
    """The node that holds a store is not placed; what reads it runs beside it."""
    one, other = stored(OREGON), stored(IOWA)
    where = where_of(one - other)
    assert not {f"original-{one.name}", f"original-{other.name}"} & where.keys()
    assert regions_of(where, one) == {OREGON}
    assert regions_of(where, other) == {IOWA}


def test_stores_in_merged_layers_run_nowhere() -> None:
    """After dask.optimize stores stand among tasks, and are no values to cross."""
    one, other = stored(OREGON), stored(IOWA)
    (merged,) = dask.optimize(one.mean(0) - other.mean(0))
    assert not {f"original-{one.name}", f"original-{other.name}"} & where_of(merged).keys()


def test_data_without_a_region_go_where_they_are_wanted() -> None:
    """Random numbers used in one region are made there."""
    noise = da.random.default_rng(0).random((8, 6), chunks=(2, 3))
    one, other = stored(OREGON), stored(IOWA)
    assert regions_of(where_of((one + noise).mean(0) - other.mean(0)), noise) == {OREGON}


def test_pin_moves_a_task_away_from_its_data() -> None:
    """An annotated layer runs where it is told, what it takes crosses to it."""
    one, other = stored(OREGON), stored(IOWA)
    mean = one.mean(0)
    with dask.annotate(locality=str(IRELAND)):
        pinned = mean + 1
    where = where_of(pinned - other.mean(0))
    assert regions_of(where, pinned) == {IRELAND}
    assert regions_of(where, mean) == {OREGON}


def test_pin_is_served_by_its_host() -> None:
    """A pin to a region without an endpoint runs where policy serves that region."""
    one, other = stored(OREGON), stored(IOWA)
    with dask.annotate(locality=str(IRELAND)):
        pinned = one.mean(0) + 1
    hosts = {OREGON: OREGON, IOWA: IOWA, IRELAND: IOWA}
    assert regions_of(where_of(pinned - other.mean(0), hosts=hosts), pinned) == {IOWA}


def test_shuffle_is_one_unit() -> None:
    """A peer-to-peer rechunk of data from two regions runs in one of them."""
    shuffled = da.concatenate([stored(OREGON), stored(IOWA)]).rechunk((16, 1), method="p2p")
    where = where_of(shuffled.sum())
    layer = shuffled.__dask_graph__().layers[shuffled.name]
    for barrier in (key for key in where if str(key).startswith("shuffle-barrier")):
        together = {barrier, *layer[barrier].dependencies}
        together |= {key for key, task in layer.items() if barrier in task.dependencies}
        assert len(together) > 2
        assert len({where[key] for key in together}) == 1


def test_compressed_source_is_read_from_afar_where_that_is_cheaper(listed: list[str]) -> None:
    """Of an elementwise join, the side that is stored small is read by the other's workers."""
    shape, chunks = (400, 60), (100, 60)
    small, large = stored(IOWA, shape, chunks, compressors="auto"), stored(OREGON, shape, chunks)
    reads = reads_of((small * large).sum())
    found = placed(reads, remote_read=True)
    (read,) = found.remote
    assert read.source.region == IOWA
    assert read.target == OREGON
    assert abs(read.nbytes - (read.source.nbytes or 0)) <= 4
    assert set(found.where[found.where >= 0]) == {found.places.index(OREGON)}
    assert len(listed) >= 1


def test_nothing_is_read_from_afar_where_that_is_forbidden(listed: list[str]) -> None:
    """With remote_read="never" values cross instead, and no store is asked."""
    shape, chunks = (400, 60), (100, 60)
    small, large = stored(IOWA, shape, chunks, compressors="auto"), stored(OREGON, shape, chunks)
    found = placed(reads_of((small * large).sum()))
    assert found.remote == ()
    assert {found.places[place] for place in found.where if place >= 0} == {OREGON, IOWA}
    assert listed == []


def test_stores_are_not_asked_where_reading_from_afar_cannot_pay(listed: list[str]) -> None:
    """Means are so small that no compression could beat them: nothing need be listed."""
    one, other = (stored(region, (4000, 6), (1000, 6)) for region in (OREGON, IOWA))
    found = placed(reads_of(one.mean() - other.mean()), remote_read=True)
    assert found.remote == ()
    assert listed == []
    assert found.solution.gap == 0.0


def test_source_that_is_not_compressed_is_asked_and_not_read_from_afar(listed: list[str]) -> None:
    """What might have paid turns out not to, once the store has said what it holds."""
    large, small = stored(OREGON, (8, 6)), stored(IOWA, (8, 6))
    found = placed(reads_of((small.mean(0) * large).sum()), remote_read=True)
    assert found.remote == ()
    assert listed


@pytest.mark.parametrize(
    ("client", "tried"), [(LOCAL, {OREGON, IOWA}), (IRELAND, {OREGON, IOWA, IRELAND})]
)
def test_regions_that_another_is_never_worse_than_are_left_out(
    client: Region, tried: set[Region]
) -> None:
    """A region that holds nothing is tried only if bytes are cheaper to or from it."""
    reads = reads_of(stored(OREGON).mean(0) - stored(IOWA).mean(0))
    found = placed(reads, usable=(IRELAND, OREGON, IOWA), client=client)
    n_regions = len(tried)
    assert set(found.places[:n_regions]) == tried
    assert IRELAND in tried or IRELAND not in found.places


def test_region_with_cheaper_egress_is_tried() -> None:
    """By money, a region from which bytes leave for less may be the place for large results."""
    costs = context(prices={"aws:eu-west-1 -> *": 0.0, "* -> aws:eu-west-1": 0.0}).costs
    reads = reads_of(stored(OREGON).mean(0) - stored(IOWA).mean(0))
    found = placed(
        reads,
        usable=(IRELAND, OREGON, IOWA),
        prices=lambda places: costs.prices("usd", places),
    )
    assert IRELAND in found.places
    assert found.solution.cost == 0


def test_costs_have_the_unit_of_the_objective() -> None:
    """What the solver counts is turned into money by a unit."""
    costs = context().costs
    reads = reads_of(stored(OREGON).mean(0) - stored(IOWA).mean(0))
    found = placed(reads, prices=lambda places: costs.prices("usd", places))
    mean = 6 * 8
    options = [
        costs.usd(one, other, mean) + costs.usd(other, LOCAL, mean)
        for one, other in ((OREGON, IOWA), (IOWA, OREGON))
    ]
    assert found.solution.cost * found.unit == pytest.approx(min(options))


def test_placement_is_deterministic() -> None:
    """The same graph is placed the same way."""
    reads = reads_of((stored(OREGON) - stored(IOWA)).mean(0))
    assert np.array_equal(placed(reads).where, placed(reads).where)
