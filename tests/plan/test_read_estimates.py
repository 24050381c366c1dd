from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import pytest
from dask.core import flatten
from dask.typing import Key

import xr_locality as xl
from support.plan_builders import IOWA, OREGON, reads_of, stored
from xr_locality.graph.sizes.estimator import GUESSED_NBYTES
from xr_locality.regions.region import Region

#: Bytes of the array that ``stored`` makes, which is not compressed.
WHOLE = 8 * 6 * 8


@pytest.mark.parametrize(
    ("choose", "expected"),
    [
        pytest.param(lambda x: x, WHOLE, id="all"),
        pytest.param(lambda x: x.mean(0), WHOLE, id="all, reduced"),
        pytest.param(lambda x: x[:2], WHOLE // 4, id="one row of chunks"),
        pytest.param(lambda x: x[0, 0], WHOLE // 8, id="one chunk"),
        pytest.param(lambda x: x[:2] + x[2:4], WHOLE // 2, id="two rows of chunks"),
    ],
)
def test_only_chunks_that_are_needed_count(choose: Any, expected: int) -> None:
    """The share of a source that is read comes from the graph, in whole chunks."""
    assert reads_of(choose(stored(OREGON))).by_region() == {OREGON: expected}


def test_sources_are_summed_by_region() -> None:
    """Each source counts once, however many results need it."""
    one, other = stored(OREGON), stored(OREGON)
    reads = reads_of(one.mean(), one.sum(), other, stored(IOWA)[:2])
    assert reads.by_region() == {OREGON: 2 * WHOLE, IOWA: WHOLE // 4}
    assert reads.guesses == {}


def test_source_of_which_nothing_is_needed_counts_nothing() -> None:
    """A layer may hold a source that none of the needed keys reads."""
    joined = da.concatenate([stored(OREGON), stored(IOWA)])[:8]
    assert reads_of(joined).by_region() == {OREGON: WHOLE, IOWA: 0}


def test_size_in_memory_stands_in_for_stored_bytes_that_nobody_knows() -> None:
    """A layer that was tagged has no store to ask: its chunks are what is known."""
    array = xl.tag(da.ones((4, 4), chunks=2), OREGON)
    reads = reads_of(array[:2])
    assert reads.by_region() == {OREGON: 2 * 4 * 8}
    assert "taken as the size in memory" in next(iter(reads.guesses.values()))


def test_nothing_known_is_a_guess_that_says_so() -> None:
    """A source of which nothing is known counts something, and is named."""
    array = da.from_delayed(dask.delayed(list)(), (float("nan"),), dtype="f8")
    reads = reads_of(xl.tag(array, OREGON))
    assert reads.by_region()[OREGON] >= GUESSED_NBYTES
    assert reads.guesses


def test_stores_are_listed_only_when_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making the reads lists nothing, and each store is listed once."""
    from xr_locality.sources.storage import zarr as finder

    listed: list[str] = []
    real = finder._stored_nbytes
    monkeypatch.setattr(
        finder, "_stored_nbytes", lambda array: (listed.append(array.name), real(array))[1]
    )
    reads = reads_of(stored(OREGON))
    assert listed == []
    assert reads.by_region() == reads.by_region()
    assert len(listed) == 1


def keys_read(*objects: Any) -> dict[Region, set[Key]]:
    """List the tasks that read, by region."""
    reads = reads_of(*objects)
    return {
        reading.region: {reads.structure.key(number) for number in reading.tasks.tolist()}
        for reading in reads.readings
    }


def test_readers_of_a_store_are_its_own_layer() -> None:
    """The tasks that take the node of a store read it, not those that take their chunks."""
    one, other = stored(OREGON), stored(IOWA)
    assert keys_read((one[:2] + 1).mean() - other.sum()) == {
        OREGON: {(one.name, 0, 0), (one.name, 0, 1)},
        IOWA: set(flatten(other.__dask_keys__())),
    }


def test_bytes_of_tasks_are_shares_of_the_stored_bytes() -> None:
    """What is compressed is read compressed, each chunk its share, never nothing."""
    reads = reads_of(stored(OREGON, (64, 64), (64, 32), compressors="auto"))
    (source,), (reading,) = reads.survey.sources, reads.readings
    assert source.nbytes is not None
    assert source.nbytes < 64 * 64 * 8 / 2
    nbytes = reads.of_tasks(reading)
    assert abs(int(nbytes.sum()) - source.nbytes) <= 2
    assert nbytes[0] == nbytes[1]
    least = reads.of_tasks(reading, listed=False)
    assert (least < nbytes).all()
    assert (least >= 1).all()


def test_fused_tasks_read_what_their_arrays_hold() -> None:
    """What a task makes of a chunk in one go says nothing of what it reads."""
    array = stored(OREGON, (8000, 6), (2000, 6)).mean(0)
    (fused,) = dask.optimize(array)
    assert reads_of(fused).by_region() == reads_of(array).by_region() == {OREGON: 8000 * 6 * 8}
