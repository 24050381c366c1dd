"""Arrays whose chunks lie in several regions: what a plan reads from elsewhere, it says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import dask.array as da
import numpy as np
import pytest

import xr_locality as xl
from support.plan_builders import IOWA, NAMED, OREGON
from xr_locality.errors import LocalityErrorGroup, SourceError
from xr_locality.plan.transfers import Transfer
from xr_locality.regions import REGISTRY, Store
from xr_locality.regions.tag import Tag
from xr_locality.sources.finder import Found
from xr_locality.sources.finder_registry import register_finder, unregister_finder

WEST: Final = Store.from_url("s3://oregon/a.nc")
MIDDLE: Final = Store.from_url("gs://iowa/b.nc")
#: Bytes of the array, and of what is stored of it in each place: a half, compressed.
IN_MEMORY: Final = 8000
STORED: Final = 1000


class References:
    """Something like an array whose chunks lie in two buckets."""

    shape, dtype, ndim = (IN_MEMORY // 8,), np.dtype("f8"), 1

    def __init__(self, *, known: bool = True) -> None:
        self.known = known

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError("a chunk was read")


class ReferencesFinder:
    """Finds both places of such an array."""

    name = "test-references"

    def find(self, obj: object, walk: Any) -> Iterable[Found] | None:
        """Return both, each with its part."""
        if not isinstance(obj, References):
            return None
        return [
            Found(
                store=store,
                group=store,
                share=0.5,
                array_nbytes=IN_MEMORY // 2,
                stored_nbytes=lambda: STORED if obj.known else None,
            )
            for store in (WEST, MIDDLE)
        ]


@pytest.fixture(autouse=True)
def regions() -> Iterator[None]:
    """Say where the two places are, and find them."""
    register_finder(ReferencesFinder())
    for store, region in ((WEST, OREGON), (MIDDLE, IOWA)):
        REGISTRY.add(store, Tag(region=region, evidence="test"), kind="catalog")
    try:
        yield
    finally:
        unregister_finder("test-references")


def array(**facts: Any) -> da.Array:
    """Make the array, in four chunks."""
    return da.from_array(References(**facts), chunks=IN_MEMORY // 32, name="scattered", meta=0.0)


def remote(plan: xl.Plan) -> list[Transfer]:
    """List what a plan reads from afar."""
    return [each for each in plan.transfers if each.why == "remote-read"]


@pytest.mark.parametrize(("part", "expected"), [(slice(None), STORED), (slice(500), STORED // 2)])
def test_what_lies_elsewhere_is_read_from_there(part: slice, expected: int) -> None:
    """One region reads its own part beside it and the other's from afar, as planned and priced."""
    plan = xl.plan(array()[part].sum(), endpoints=NAMED)
    (region,) = plan.regions
    (read,) = remote(plan)
    assert (read.target, read.nbytes) == (region, expected)
    assert {read.source, read.target} == {OREGON, IOWA}
    assert plan.moved[read.source, read.target] == expected
    assert "which chunks lie at s3://oregon/a.nc" in " ".join(plan.unknowns)


def test_unknown_sizes_are_parts_of_the_size_in_memory() -> None:
    """Where nobody knows the stored bytes, the parts together are no more than the array."""
    plan = xl.plan(array(known=False).sum(), endpoints=NAMED)
    assert [each.nbytes for each in remote(plan)] == [IN_MEMORY // 2]


def test_remote_reads_may_be_forbidden() -> None:
    """No region holds all of it, so what must not be read from afar is refused."""
    with pytest.raises(SourceError, match="whose chunks lie in several needs remote_read"):
        xl.plan(array().sum(), endpoints=NAMED, remote_read="never")


@pytest.mark.parametrize(("kept", "region"), [(WEST, OREGON), (MIDDLE, IOWA)])
def test_what_may_not_leave_is_read_where_it_is(kept: Store, region: xl.Region) -> None:
    """The part that must stay says where the tasks run; if both must, there is no plan."""
    REGISTRY.add(kept, Tag(region=region, evidence="test", leaves="never"), kind="catalog")
    plan = xl.plan(array().sum(), endpoints=NAMED, client_region=str(region))
    assert plan.regions == (region,)
    assert [each.target for each in remote(plan)] == [region]
    other, there = (MIDDLE, IOWA) if kept == WEST else (WEST, OREGON)
    REGISTRY.add(other, Tag(region=there, evidence="test", leaves="never"), kind="catalog")
    with pytest.raises((SourceError, LocalityErrorGroup), match="may not"):
        xl.plan(array().sum(), endpoints=NAMED, client_region=str(region))
