"""Array expressions of dask-array: as graphs, alone and together, and when names are gone."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import dask
import numpy as np
import pytest

import xr_locality as xl
from support.clusters import two_clusters
from xr_locality.compat.dask_array import array_in, is_array_expression, lower
from xr_locality.errors import ConfigurationError
from xr_locality.graph.collections import unpack

da = pytest.importorskip("dask_array")


def field(seed: int) -> Any:
    """Make an array of 12 x 6 random numbers, in four chunks."""
    values = np.random.default_rng(seed).random((12, 6))
    return da.from_array(values, chunks=(3, 6))


def blocks_of(array: Any) -> np.ndarray[Any, Any]:
    """Compute an array's blocks from its lowered graph."""
    (lowered,) = lower([array.expr])
    return np.block(as_lists(dask.get(dict(lowered.graph), lowered.keys)))


def as_lists(blocks: Any) -> Any:
    """Make lists of nested tuples, as numpy's `block` wants them."""
    return list(map(as_lists, blocks)) if isinstance(blocks, list | tuple) else blocks


PROGRAMS = {
    "difference of means": lambda a, b: a.mean(axis=0) - b.mean(axis=0),
    "slice of arithmetic": lambda a, b: (2 * a - b / 3)[:2],
    "one array twice": lambda a, b: (a - a.mean(axis=0)) * b,
    "other chunks": lambda a, b: a.rechunk((4, 3)) + b.rechunk((4, 3)),
    "a number": lambda a, b: (a - b).sum(),
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
class TestLower:
    def test_values(self, program: Any) -> None:
        """The lowered graph makes the blocks that the array states."""
        array = program(field(0), field(1))
        np.testing.assert_array_equal(blocks_of(array), array.compute(scheduler="sync"))

    def test_layers_are_complete(self, program: Any) -> None:
        """Each layer lists the layers that it takes values of, and states its blocks."""
        (lowered,) = lower([program(field(0), field(1)).expr])
        lowered.graph.validate()
        assert lowered.graph.layers[lowered.layer].collection_annotations["chunks"] is not None

    def test_computed_by_dask(self, program: Any) -> None:
        """What dask hands to a scheduler, fused, is the same array before it was fused."""
        array = program(field(0), field(1))
        (lowered,) = lower([array.expr])
        seen = []

        def scheduler(expression: Any, keys: Any, **_: Any) -> Any:
            (unfused,) = lower([array_in(each) for each in expression.operands])
            seen.append(len(dict(unfused.graph)))
            return dask.get(dict(expression.__dask_graph__()), keys)

        array.compute(scheduler=scheduler)
        assert seen == [len(dict(lowered.graph))]


def test_slices_are_pushed_into_reads() -> None:
    """Blocks that a slice leaves out are not read."""
    (lowered,) = lower([field(0)[:3].expr])
    reading = [key for key in dict(lowered.graph) if isinstance(key, tuple) and len(key) == 3]
    assert len(reading) == 1


def test_shared_expressions_are_shared() -> None:
    """Arrays that are lowered together share the layers of what they share."""
    a = field(0)
    parts = unpack(a.mean(axis=0), a.std(axis=0)).parts
    shared = parts[0].graph.layers.keys() & parts[1].graph.layers.keys()
    assert any(name.startswith("array-") for name in shared)


def test_tagged_arrays_are_split() -> None:
    """A difference of arrays from two regions is split; only the means cross."""
    west, iowa = xl.tag(field(0), "aws:us-west-2"), xl.tag(field(1), "gcp:us-central1")
    named = {"aws:us-west-2": None, "gcp:us-central1": None}
    plan = xl.plan(west.mean(axis=0) - iowa.mean(axis=0), endpoints=named)
    assert len(plan.partitions) == 2
    assert sum(each.nbytes for each in plan.transfers if each.why == "boundary") == 6 * 8


def test_plain_compute_is_routed() -> None:
    """Under `routed()` what dask was handed fused is split, and only the means cross."""
    west, iowa = xl.tag(field(0), "aws:us-west-2"), xl.tag(field(1), "gcp:us-central1")
    difference = west.mean(axis=0) - iowa.mean(axis=0)
    with (
        two_clusters(processes=False) as clusters,
        xl.Session(clusters, progress=False) as session,
        xl.routed(),
    ):
        got, total = dask.compute(difference, iowa.sum())
        moved = session.reports[-1].plan.transfers
        held = difference.persist()
        again = (held + 1).compute()
    np.testing.assert_array_equal(got, difference.compute(scheduler="sync"))
    np.testing.assert_array_equal(again, got + 1)
    assert total == iowa.sum().compute(scheduler="sync")
    assert sum(each.nbytes for each in moved if each.why == "boundary") == 6 * 8


@pytest.mark.parametrize("name", ["dask_array._expr.ChunksFreeze", "dask_array._expr.RootAlias"])
def test_renamed_upstream(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where dask-array has renamed what is used here, a sentence says what to do."""
    expression = field(0).expr
    monkeypatch.delattr(name)
    with pytest.raises(ConfigurationError, match="Install that version, or do not register"):
        lower([array_in(expression)])


def test_other_collections_are_none() -> None:
    """Arrays of dask itself are no array expressions."""
    assert not is_array_expression(dask.delayed(len)([1]))


def test_query_planning_of_dask_is_refused() -> None:
    """Arrays of dask's own unfinished query planning are refused in one sentence."""
    code = (
        "import dask; dask.config.set({'array.query-planning': True}); "
        "import dask.array as da, xr_locality as xl; "
        "xl.plan(da.ones(3, chunks=1).sum(), endpoints={'aws:us-west-2': None})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ConfigurationError: dask's own query planning of arrays" in done.stderr
