"""What holds for every plan, whatever was planned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from dask.blockwise import Blockwise
from dask.core import get_dependencies
from dask.highlevelgraph import MaterializedLayer
from dask.typing import Key
from dask.utils import ensure_dict

from xr_locality.compat.dask_graph import is_future
from xr_locality.display.plans import Plan
from xr_locality.graph.dependencies import structure_of
from xr_locality.graph.tasks import is_value
from xr_locality.plan.model import Partition
from xr_locality.regions.chain import Chain
from xr_locality.regions.region import Region
from xr_locality.sources.search import find_sources

__all__ = ["check_plan"]


def check_plan(plan: Plan, *, chain: Chain | None = None) -> None:
    """Assert what must hold for every plan.

    Each task runs in one region, each result is made once, each boundary value
    crosses once and from where it is made, partitions have all that they take,
    and what they share is plain data.

    Parameters
    ----------
    plan : Plan
        Any.
    chain : Chain, optional
        Knows the regions of stores; by default tags and files of this machine. Stores
        travel only to the regions that the plan says read them.

    Raises
    ------
    AssertionError
        If something does not hold.
    """
    _check_partitions(plan)
    _check_boundaries(plan)
    _check_placement(plan)
    _check_sums(plan)
    if len(plan.partitions) > 1:
        for partition in plan.partitions:
            _check_closed(partition, _needed(plan))
            _check_stores(plan, partition, chain or Chain())


def _check_partitions(plan: Plan) -> None:
    regions = [partition.region for partition in plan.partitions]
    assert regions == sorted(set(regions)), "a region has two partitions"
    assert plan.regions == tuple(regions)
    outputs = [key for partition in plan.partitions for key in partition.outputs]
    wanted = plan.bundle.keys()
    assert len(outputs) == len(set(outputs)), "a result is made twice"
    assert set(outputs) == set(wanted), "results are missing"
    if len(plan.partitions) == 1:
        return
    made = Counter(key for partition in plan.partitions for key in set(_tasks(partition)))
    assert max(made.values(), default=1) == 1, "a task runs in two regions"


def _check_boundaries(plan: Plan) -> None:
    keys = [boundary.key for boundary in plan.boundaries]
    assert len(keys) == len(set(keys)), "a value is in two boundaries"
    parts = {partition.region: partition for partition in plan.partitions}
    made = {region: set(_tasks(partition)) for region, partition in parts.items()}
    for boundary in plan.boundaries:
        assert boundary.targets == tuple(sorted(set(boundary.targets)))
        assert boundary.targets
        assert boundary.source not in boundary.targets
        assert boundary.nbytes > 0
        assert boundary.key in made[boundary.source], "a value crosses from where it is not made"
        assert boundary.key in parts[boundary.source].sends
        for target in boundary.targets:
            assert boundary in parts[target].fetches
    for region, partition in parts.items():
        sent = {boundary.key for boundary in plan.boundaries if boundary.source == region}
        fetched = {boundary for boundary in plan.boundaries if region in boundary.targets}
        assert set(partition.sends) == sent
        assert set(partition.fetches) == fetched


def _check_placement(plan: Plan) -> None:
    usable = set(plan.regions)
    assert all(plan.placement[key] in usable for key in _needed(plan))
    if len(plan.partitions) > 1:
        for partition in plan.partitions:
            assert all(plan.placement[key] == partition.region for key in _tasks(partition))


def _check_sums(plan: Plan) -> None:
    moved: Counter[tuple[Region, Region]] = Counter()
    for transfer in plan.transfers:
        assert transfer.source != transfer.target
        moved[transfer.source, transfer.target] += transfer.nbytes
    assert dict(plan.moved) == dict(moved)
    assert plan.nbytes_moved == moved.total()
    crossed = Counter(
        (transfer.key, transfer.target) for transfer in plan.transfers if transfer.why == "boundary"
    )
    assert max(crossed.values(), default=1) == 1, "a value is counted twice for one region"
    results = Counter(transfer.key for transfer in plan.transfers if transfer.why == "result")
    assert max(results.values(), default=1) == 1, "a result is counted twice"
    assert 0.0 <= plan.gap <= 1.0
    cost = {"usd": plan.usd, "bytes": plan.nbytes_moved, "seconds": plan.seconds}[plan.objective]
    assert plan.lower_bound <= cost * (1 + 1e-6), "the cost is below its bound"
    if len(plan.baselines) <= 3:
        assert plan.gap == 0.0, "two regions are not placed at their best"


def _check_closed(partition: Partition, needed: list[Key]) -> None:
    """Check that a partition has what it takes, made or fetched."""
    tasks = ensure_dict(partition.graph)
    fetched = {boundary.key for boundary in partition.fetches}
    assert not fetched & tasks.keys(), "a fetched value is made here too"
    assert {*partition.outputs, *partition.sends} <= tasks.keys()
    # Legacy tasks are known to take a key only if it is in the graph.
    graph = {**dict.fromkeys(needed), **tasks}
    for key in tasks:
        missing = set(get_dependencies(graph, key)) - tasks.keys() - fetched
        assert not missing, f"{key!r} lacks {missing}"


def _check_stores(plan: Plan, partition: Partition, chain: Chain) -> None:
    """Check that a store goes to its own region, and to those that are said to read it."""
    remote = {(each.key, each.target) for each in plan.transfers if each.why == "remote-read"}
    for layer in partition.graph.layers.values():
        for value in layer.mapping.values() if isinstance(layer, MaterializedLayer) else ():
            if is_value(value):
                for found in find_sources([value]):
                    where = chain.detect(found.store)
                    if where is not None and where.region != partition.region:
                        read = (found.group_url, partition.region)
                        assert read in remote, f"{found.url} is read from elsewhere"


def _needed(plan: Plan) -> list[Key]:
    """List the keys that the results need."""
    structure = structure_of(plan.bundle.graph(), plan.bundle.keys())
    return [
        key
        for layer in structure.layers
        for key in layer.keys_of(np.arange(layer.start, layer.stop))
    ]


def _tasks(partition: Partition) -> Iterator[Key]:
    """List a partition's tasks, without the plain data that partitions may share."""
    for layer in partition.graph.layers.values():
        if isinstance(layer, Blockwise):
            yield from layer
        else:
            yield from (
                key for key, value in layer.items() if not is_value(value) or is_future(value)
            )
