from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.highlevelgraph import HighLevelGraph

import xr_locality as xl
from support.plan_builders import IOWA, OREGON, remote, stored, surveyed
from xr_locality.errors import EndpointError, RegionError
from xr_locality.regions.region import LOCAL, Region
from xr_locality.regions.store import Store
from xr_locality.sources.finder import Found
from xr_locality.sources.finder_registry import register_finder, unregister_finder


def future_at(address: str) -> Any:
    """Make what looks like a Future of a cluster; making a real one needs the cluster."""
    kind = type("Future", (), {"__module__": "distributed.client"})
    future = kind()
    future.client = SimpleNamespace(scheduler=SimpleNamespace(address=address))
    return future


def held(address: str, name: str = "held") -> da.Array:
    """Make an array of one chunk that is a Future."""
    graph = HighLevelGraph.from_collections(name, {(name, 0): future_at(address)})
    return da.Array(graph, name, ((3,),), "f8")


def test_each_store_is_one_source() -> None:
    """A store that many layers read is listed once, with all its layers' variables."""
    array = stored(OREGON)
    found, problems = surveyed(array + 1, array.mean(), stored(IOWA))
    assert problems == []
    assert [source.region for source in found.sources] == [OREGON, IOWA]
    assert [source.evidence for source in found.sources] == ["tagged by hand"] * 2


def test_layers_that_nobody_needs_are_passed_by() -> None:
    """A graph may hold more than the results need."""
    needed, other = stored(OREGON), stored(IOWA)
    merged = HighLevelGraph.merge(needed.__dask_graph__(), other.__dask_graph__())
    found, _ = surveyed(da.Array(merged, needed.name, needed.chunks, needed.dtype))
    assert [source.region for source in found.sources] == [OREGON]


def test_unknown_region_is_none() -> None:
    """Where nobody knows, nobody guesses: the layer lies nowhere."""
    found, _ = surveyed(remote())
    assert [(source.region, source.evidence) for source in found.sources] == [
        (None, "nobody knows")
    ]
    assert found.layers == {}


def test_contradictions_are_in_the_evidence() -> None:
    """Where others say something else, the evidence says who and what."""
    array = remote(OREGON)
    (store,) = [each.store for each in surveyed(array)[0].sources[0].found]
    found, _ = surveyed(array, rules={store.url: str(IOWA)})
    (source,) = found.sources
    assert (source.region, source.evidence) == (
        OREGON,
        f"tagged by hand; rule {store.url!r} says {IOWA}",
    )


class Mosaic:
    """Something like an array whose pieces lie in two buckets, as a reference file's may."""

    shape, dtype, ndim = (4,), np.dtype("f8"), 1
    places = (Store.from_url("s3://oregon/x"), Store.from_url("gs://iowa/x"))

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError("a chunk was read")


class MosaicFinder:
    """Finds mosaics."""

    name = "mosaic"

    def find(self, obj: object, walk: Any) -> Any:
        """Return both buckets, as one group."""
        if not isinstance(obj, Mosaic):
            return None
        group = Store.from_url("https://example.org/mosaic.json")
        return [Found(store=place, group=group, array_nbytes=16) for place in obj.places]


def test_store_that_spans_regions_is_a_source_in_each() -> None:
    """What lies in buckets of two regions is told, and counted, for each of them."""
    register_finder(MosaicFinder())
    try:
        rules = {"s3://oregon": str(OREGON), "gs://iowa": str(IOWA)}
        array = da.from_array(Mosaic(), chunks=2, name="mosaic")
        found, problems = surveyed(array, rules=rules)
    finally:
        unregister_finder("mosaic")
    assert problems == []
    assert [(each.url, each.region, each.array_nbytes) for each in found.sources] == [
        ("https://example.org/mosaic.json", OREGON, 16),
        ("https://example.org/mosaic.json", IOWA, 16),
    ]
    assert set(found.layers.values()) == {frozenset({OREGON, IOWA})}


def test_unknown_region_may_be_read_from_elsewhere() -> None:
    """Policy may say where such data are read; that is not said of the source."""
    found, _ = surveyed(remote(), unknown=LOCAL)
    assert found.sources[0].region is None
    assert set(found.layers.values()) == {frozenset({LOCAL})}


def test_tagged_layer_without_a_store_is_a_source() -> None:
    """An array of a user's own loader lies where its tag says."""
    array = xl.tag(da.ones((4, 4), chunks=2), OREGON)
    found, _ = surveyed(array.sum())
    assert [(source.url, source.region) for source in found.sources] == [
        (f"graph layer {array.name}", OREGON)
    ]
    assert found.sources[0].array_nbytes is None


def test_keys_of_a_layer_may_lie_apart() -> None:
    """A layer that dask.optimize has merged says of each key where it lies."""
    (array,) = dask.optimize(stored(OREGON) - stored(IOWA))
    found, _ = surveyed(array)
    assert set(found.layers[array.name]) == {OREGON, IOWA}
    assert set(found.keys[array.name].values()) == {(OREGON,), (IOWA,)}


def test_pins_come_from_annotations() -> None:
    """dask.annotate(locality=…) pins the layers made under it, and no others."""
    array = stored(OREGON)
    with dask.annotate(locality="gcp:us-central1"):
        pinned = array + 1
    found, _ = surveyed(pinned * 2)
    assert found.pins == {pinned.name: IOWA}


@pytest.mark.parametrize("pin", ["us-wset-2", 5, "aws:", ""])
def test_malformed_pin_is_a_problem(pin: object) -> None:
    """A pin that is no region is reported, with all else that is wrong."""
    with dask.annotate(locality=pin):
        pinned = stored(OREGON) + 1
    _, problems = surveyed(pinned)
    assert [type(problem) for problem in problems] == [RegionError]


def test_futures_lie_where_their_cluster_is() -> None:
    """A Future of an endpoint's cluster is data in its region."""
    found, problems = surveyed(held("tcp://here:8786"), clusters={"tcp://here:8786": OREGON})
    assert problems == []
    assert found.layers == {"held": frozenset({OREGON})}


def test_futures_of_foreign_clusters_are_problems() -> None:
    """A Future of a cluster that nobody named cannot be used, and the address is told."""
    _, problems = surveyed(held("tcp://there:8786"))
    (problem,) = problems
    assert isinstance(problem, EndpointError)
    assert problem.address == "tcp://there:8786"


def test_futures_of_several_clusters_are_told_apart() -> None:
    """Of one layer, some Futures may be here and some there."""
    graph = HighLevelGraph.from_collections(
        "held", {("held", 0): future_at("tcp://a:1"), ("held", 1): future_at("tcp://b:1")}
    )
    array = da.Array(graph, "held", ((1, 1),), "f8")
    found, _ = surveyed(array, clusters={"tcp://a:1": OREGON, "tcp://b:1": IOWA})
    assert found.keys["held"] == {("held", 0): (OREGON,), ("held", 1): (IOWA,)}


def test_variables_of_sources_are_named() -> None:
    """A source says which variables of the computed objects need it."""
    dataset = xl.tag(_dataset(), OREGON)
    found, _ = surveyed(dataset.assign(mean=dataset.t.mean()))
    assert {name for source in found.sources for name in source.variables} == {"t", "mean"}


def test_sizes_of_sources_are_known() -> None:
    """A source knows its size in memory, and asks for its stored bytes when asked."""
    found, _ = surveyed(stored(OREGON))
    (source,) = found.sources
    assert source.array_nbytes == 8 * 6 * 8
    assert source.nbytes == 8 * 6 * 8


def test_hand_tag_wins_over_what_is_known_of_local_files() -> None:
    """A store in memory is here, unless somebody says otherwise."""
    found, _ = surveyed(stored(Region.parse("osn:ncsa")))
    assert str(found.sources[0].region) == "osn:ncsa"


def _dataset() -> Any:
    import xarray as xr

    return xr.Dataset({"t": (("y", "x"), stored()), "n": ("x", np.arange(6))})
