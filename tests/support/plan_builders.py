"""Small arrays that are said to lie somewhere, and what a plan of them depends on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import dask.array as da
import fsspec
import numpy as np
import zarr
from dask.typing import Key

import xr_locality as xl
from xr_locality import config
from xr_locality.graph.collections import unpack
from xr_locality.graph.sizes.estimator import SizeEstimator
from xr_locality.placement.costs import CostModel
from xr_locality.plan.context import PlanContext
from xr_locality.plan.read_estimates import Reads
from xr_locality.plan.survey import Survey, survey
from xr_locality.plan.transfers import Crossings, Transfer, Transfers, Why
from xr_locality.regions.chain import Chain
from xr_locality.regions.detectors.rules import Rules
from xr_locality.regions.region import Region

OREGON = Region.parse("aws:us-west-2")
IOWA = Region.parse("gcp:us-central1")
IRELAND = Region.parse("aws:eu-west-1")

_numbers = count()

#: Endpoints that are only named.
NAMED = {str(OREGON): None, str(IOWA): None, str(IRELAND): None}


def stored(
    region: Region | None = None,
    shape: tuple[int, ...] = (8, 6),
    chunks: tuple[int, ...] = (2, 3),
    *,
    compressors: Any = None,
) -> da.Array:
    """Make a lazy array of a zarr store in memory, and say where it lies."""
    values = np.arange(np.prod(shape), dtype="f8").reshape(shape)
    store = zarr.storage.MemoryStore()
    written = zarr.create_array(
        store, data=values, chunks=chunks, compressors=compressors, filters=None
    )
    # Named by hand: of equal arrays in memory, dask cannot tell one from another.
    name = f"stored-{next(_numbers)}"
    array = da.from_array(zarr.open_array(store, mode="r"), chunks=written.chunks, name=name)
    return array if region is None else xl.tag(array, region)


def crossing(*transfers: Transfer) -> Transfers:
    """Make the transfers of a plan of single ones, each a group of its own."""
    return Transfers(
        [
            Crossings(
                source=each.source,
                target=each.target,
                why=each.why,
                keys=(each.key,),
                nbytes=each.nbytes,
                sizes=lambda nbytes=each.nbytes: [nbytes],
            )
            for each in transfers
        ]
    )


def many_crossing(
    source: Region, target: Region, keys: Sequence[Key], *, why: Why = "boundary"
) -> Crossings:
    """Make a group of values of 1 B; whoever asks for their sizes fails."""

    def refuse() -> list[int]:
        raise AssertionError("single transfers were listed")

    return Crossings(
        source=source, target=target, why=why, keys=keys, nbytes=len(keys), sizes=refuse
    )


def surveyed(
    *objects: Any,
    unknown: Region | None = None,
    clusters: dict[str, Region] | None = None,
    rules: dict[str, str] | None = None,
) -> tuple[Survey, list[Exception]]:
    """Survey some objects."""
    bundle = unpack(*objects)
    return survey(
        bundle.graph(),
        bundle.parts,
        chain=Chain(Rules.parse(rules or {})),
        unknown=unknown,
        find_cluster=(clusters or {}).get,
    )


def reads_of(*objects: Any, clusters: dict[str, Region] | None = None) -> Reads:
    """Make the reads of some objects."""
    bundle = unpack(*objects)
    graph = bundle.graph()
    found, problems = surveyed(*objects, clusters=clusters)
    assert problems == []
    return Reads(
        graph=graph,
        outputs=bundle.keys(),
        survey=found,
        estimator=SizeEstimator(graph=graph, parts=bundle.parts),
    )


def context(*usable: Region, **policy: Any) -> PlanContext:
    """Make what a plan depends on: endpoints that are only named, and policy."""
    settings = config.read(**policy)
    return PlanContext(
        settings=settings,
        usable=tuple(sorted(usable)),
        chain=Chain(Rules.parse(settings.rules)),
        costs=CostModel(settings.prices, links=settings.links),
        find_cluster=lambda address: None,
    )


def remote(region: Region | None = None) -> da.Array:
    """Make a lazy array of a bucket in a cloud; nothing is contacted."""
    array = da.from_array(_Bucket(), chunks=2, name=f"remote-{next(_numbers)}")
    return array if region is None else xl.tag(array, region)


class _Bucket:
    """Something like an array, read from a bucket."""

    shape, dtype, ndim = (6,), np.dtype("f8"), 1

    def __init__(self) -> None:
        self.fs = fsspec.filesystem("s3", anon=True)
        self.path = f"bucket-{next(_numbers)}/values"

    def __getitem__(self, index: Any) -> np.ndarray[Any, Any]:
        raise AssertionError("a chunk was read")
