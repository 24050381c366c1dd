from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.typing import Key

from support.plan_builders import IOWA, IRELAND, OREGON, reads_of, stored
from xr_locality.plan.formulate import FormulatedProblem, formulate
from xr_locality.plan.read_estimates import Reads
from xr_locality.regions.region import LOCAL, Region
from xr_locality.regions.tag import Tag
from xr_locality.regions.tag_registry import REGISTRY
from xr_locality.sources.search import find_sources

HOSTS = {OREGON: OREGON, IOWA: IOWA}

#: A value by its bytes, what makes it and what takes it: keys and regions.
Value = tuple[int, Any, frozenset[Any]]


def formulated(reads: Reads, **changes: Any) -> FormulatedProblem:
    """State the placement problem of some reads in two regions, for a client elsewhere."""
    formulated: dict[str, Any] = {
        "hosts": HOSTS,
        "regions": (OREGON, IOWA),
        "client": LOCAL,
        "remote_read": True,
        "listed": True,
        **changes,
    }
    return formulate(reads, **formulated)


def values_of(reads: Reads, problem: FormulatedProblem) -> list[Value]:
    """Name what the numbers of a problem mean."""
    found = problem.problem
    entities: list[Any] = [*found.places[:-1], "client"]
    entities += [reads.structure.key(int(number)) for number in problem.tasks]
    takers: dict[int, set[Any]] = {}
    for value, taker in zip(found.values.tolist(), found.takers.tolist(), strict=True):
        takers.setdefault(value, set()).add(entities[taker])
    pairs = len(set(zip(found.values.tolist(), found.takers.tolist(), strict=True)))
    assert pairs == len(found.values), "a pair is there twice"
    return [
        (int(found.nbytes[value]), entities[found.makers[value]], frozenset(takers[value]))
        for value in sorted(takers)
    ]


def pins_of(reads: Reads, problem: FormulatedProblem) -> dict[Key, Region]:
    """Name the tasks that are pinned, and where."""
    return {
        reads.structure.key(int(number)): problem.problem.places[pin]
        for number, pin in zip(problem.tasks, problem.problem.pins.tolist(), strict=True)
        if pin >= 0
    }


def test_small_graph_in_full() -> None:
    """One chunk is read, one value made of it, and brought to the client."""
    array = stored(OREGON, (4, 3), (4, 3))
    doubled = array[:, :2] * 2
    reads = reads_of(doubled)
    names = [
        array.name,
        next(iter(doubled.__dask_graph__().dependencies[doubled.name])),
        doubled.name,
    ]
    keys = [(name, 0, 0) for name in names]
    assert values_of(reads, formulated(reads)) == [
        (4 * 3 * 8, keys[0], frozenset({keys[1]})),
        (4 * 2 * 8, keys[1], frozenset({keys[2]})),
        (4 * 2 * 8, keys[2], frozenset({"client"})),
        (4 * 3 * 8, OREGON, frozenset({keys[0]})),
    ]
    assert formulated(reads).problem.pins.tolist() == [-1, -1, -1]
    assert formulated(reads).problem.units is None


def test_plain_values_are_no_tasks() -> None:
    """Stores and arrays in memory are placed nowhere, and have no number in the problem."""
    reads = reads_of(stored(OREGON) + da.from_array(np.ones((8, 6)), chunks=(2, 3)))
    problem = formulated(reads)
    values = reads.structure.flags("values")
    assert (problem.node_of[values] == -1).all()
    assert problem.node_of[~values].tolist() == list(range(problem.problem.n_tasks))
    assert problem.tasks.tolist() == (~values).nonzero()[0].tolist()


def test_embedded_arrays_lie_at_the_client() -> None:
    """What the graph holds is sent along from the client, to each region that takes it once."""
    weights = da.from_array(np.ones(3), chunks=3)
    array = stored(OREGON, (4, 3), (2, 3))
    product = array * weights
    reads = reads_of(product)
    takers = frozenset({(product.name, 0, 0), (product.name, 1, 0)})
    assert (3 * 8, "client", takers) in values_of(reads, formulated(reads))


def test_results_are_needed_at_the_client() -> None:
    """A result that tasks take too is one value with takers of both kinds."""
    array = stored(OREGON, (4, 3), (4, 3))
    total = array.sum(0)
    reads = reads_of(array, total)
    makers = {maker: takers for _, maker, takers in values_of(reads, formulated(reads))}
    assert "client" in makers[array.name, 0, 0]
    assert len(makers[array.name, 0, 0]) == 2
    assert makers[total.name, 0] == {"client"}


def test_client_is_a_place_of_its_own() -> None:
    """Even in a region of ours: what a worker there was sent, the client has not."""
    reads = reads_of(stored(OREGON).mean())
    problem = formulated(reads, client=OREGON).problem
    assert problem.places == (OREGON, IOWA, OREGON)
    assert problem.n_regions == 2
    made = problem.takers[problem.takers < problem.n_places]
    assert made.tolist() == [2]


def test_regions_without_an_endpoint_are_places_where_nothing_runs() -> None:
    """Data may lie where no task may be."""
    reads = reads_of(stored(IRELAND).mean() - stored(OREGON).mean())
    problem = formulated(reads, hosts={OREGON: OREGON, IRELAND: OREGON}).problem
    assert problem.places == (OREGON, IOWA, IRELAND, LOCAL)
    assert problem.n_regions == 2
    # Policy has said who reads them.
    assert {problem.places[pin] for pin in problem.pins if pin >= 0} == {OREGON}


def test_unlisted_stores_hold_as_little_as_they_may() -> None:
    """Before stores are asked, what they hold is taken to be compressed as well as can be."""
    reads = reads_of(stored(OREGON, (100, 10), (50, 10)).mean())
    first, then = (formulated(reads, listed=listed) for listed in (False, True))
    (few,), (many,) = first.read_values, then.read_values
    assert first.problem.nbytes[few].tolist() == [50 * 10 * 8 // 100] * 2
    assert then.problem.nbytes[many].tolist() == [50 * 10 * 8] * 2


def test_readers_are_pinned_where_reading_from_afar_is_forbidden() -> None:
    """With remote_read="never" each source is read in its own region, the rest is free."""
    one, other = stored(OREGON, (4, 3), (4, 3)), stored(IOWA, (4, 3), (4, 3))
    reads = reads_of(one - other)
    expected = {(one.name, 0, 0): OREGON, (other.name, 0, 0): IOWA}
    assert pins_of(reads, formulated(reads, remote_read=False)) == expected


def test_annotated_layers_are_pinned() -> None:
    """``dask.annotate(locality=…)`` holds all tasks of its layers."""
    with dask.annotate(locality=str(IOWA)):
        pinned = stored(OREGON, (4, 3), (2, 3)) * 2
    reads = reads_of(pinned + 1)
    # The layers of the array itself were made outside; slicing inside would be pinned, too.
    pins = pins_of(reads, formulated(reads))
    assert {(pinned.name, 0, 0), (pinned.name, 1, 0)} <= pins.keys()
    assert set(pins.values()) == {IOWA}


@pytest.mark.parametrize(("leaves", "held"), [("reduced", 2), ("never", 3), ("always", 0)])
def test_residency_holds_what_may_not_leave(leaves: Any, held: int) -> None:
    """Of a chain of three tasks the reader, what takes its chunks, or all of it are held."""
    array = stored(None, (4, 3), (4, 3))
    (found,) = find_sources(
        [array.__dask_graph__().layers[f"original-{array.name}"][f"original-{array.name}"]]
    )
    REGISTRY.add(found.store, Tag(region=OREGON, evidence="catalog", leaves=leaves), kind="catalog")
    reads = reads_of((array * 2) + 1)
    pins = pins_of(reads, formulated(reads))
    assert len(pins) == held
    assert set(pins.values()) <= {OREGON}


def test_shuffles_are_units() -> None:
    """A peer-to-peer barrier runs with the tasks before and after it."""
    shuffled = da.concatenate([stored(OREGON), stored(IOWA)]).rechunk((16, 1), method="p2p")
    reads = reads_of(shuffled.sum())
    problem = formulated(reads)
    units = problem.problem.units
    assert units is not None
    unit_of = {
        reads.structure.key(int(number)): unit
        for number, unit in zip(problem.tasks, units.tolist(), strict=True)
    }
    layer = shuffled.__dask_graph__().layers[shuffled.name]
    barriers = [key for key in unit_of if str(key).startswith("shuffle-barrier")]
    assert barriers
    for barrier in barriers:
        around = {*layer[barrier].dependencies}
        around |= {key for key, task in layer.items() if barrier in task.dependencies}
        assert len(around) > 1
        assert unit_of[barrier] >= 0
        assert {unit_of[key] for key in around} == {unit_of[barrier]}
    assert min(unit_of.values()) == -1, "what is not shuffled is free"
