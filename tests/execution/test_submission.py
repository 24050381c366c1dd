from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask.blockwise import Blockwise
from dask.core import flatten
from dask.local import get_sync
from dask.typing import Key

import xr_locality as xl
from support.answers import assert_same
from xr_locality.compat.dask_graph import Task
from xr_locality.display.plans import Plan
from xr_locality.endpoints.connection import Connection
from xr_locality.execution.remote import rename
from xr_locality.execution.ship import Shipped
from xr_locality.execution.submission import (
    Remainder,
    Submission,
    relayed_key,
    send_key,
    submit,
    wanted_key,
)
from xr_locality.execution.transport.cluster_links import OpenLink
from xr_locality.plan.model import Boundary
from xr_locality.program.executable import Program
from xr_locality.regions.region import Region

OREGON = Region.parse("aws:us-west-2")
IOWA = Region.parse("gcp:us-central1")


@dataclass
class Promise:
    """Stands for a Future."""

    key: Key
    released: bool = False

    def release(self) -> None:
        """Note that it is held no more."""
        self.released = True


@dataclass
class Client:
    """Stands for a client: keeps what it was asked for, and in which circumstances."""

    asked: list[tuple[Any, list[Key], dict[str, Any]]] = field(default_factory=list)

    def get(self, expression: Any, keys: list[Key], *, sync: bool) -> list[Any]:
        """Hand out Futures of a kind."""
        assert not sync
        self.asked.append((expression, keys, dask.get_annotations()))
        return [Promise(key) for key in keys]


def connection_of(client: Client) -> Connection:
    """Make as much of a connection as submitting needs."""
    return cast(Connection, SimpleNamespace(client=client))


def difference() -> da.Array:
    """Make the difference of two means in two regions."""
    one, other = da.ones((8, 6), chunks=(2, 3)), da.zeros((8, 6), chunks=(2, 3))
    return xl.tag(one, OREGON).mean(0) - xl.tag(other, IOWA).mean(0)


def split() -> Plan:
    """Plan it in two parts."""
    named = {str(OREGON): None, str(IOWA): None}
    return xl.plan(difference(), endpoints=named, objective="bytes", remote_read="never")


def send(plan: Plan, region: Region, client: Client, *, relayed: bool = False) -> Submission:
    """Submit a region's part."""
    program = Program.of(plan).region(region)
    links = {
        boundary.source: OpenLink(name=f"link to {boundary.source}", share=b"s", relayed=relayed)
        for boundary in program.partition.fetches
    }
    return asyncio.run(
        submit(
            program,
            connection_of(client),
            run="r1",
            links=links,
            annotations={"priority": 7},
        )
    )


def test_part_owes_outputs_and_what_it_fetches() -> None:
    """The consumer holds results and fetched values, under the plan's keys."""
    plan, client = split(), Client()
    submission = send(plan, OREGON, client)
    assert set(submission.outputs) == set(plan.partitions[0].outputs)
    assert set(submission.fetches) == {boundary.key for boundary in plan.boundaries}
    assert submission.sends == {}
    assert len(submission.held()) == len(submission.outputs) + len(submission.fetches)


def test_part_owes_what_it_sends() -> None:
    """The producer holds packed values, and nothing else."""
    plan = split()
    submission = send(plan, IOWA, Client())
    assert set(submission.sends) == {boundary.key for boundary in plan.boundaries}
    assert (submission.outputs, submission.fetches) == ({}, {})


def test_released_values_are_held_no_more() -> None:
    """What nobody needs is released, once, and the rest stays; what is not known is no error."""
    plan = split()
    submission = send(plan, IOWA, Client())
    released, *kept = submission.sends
    future = cast(Any, submission.sends[released])
    for _ in range(2):
        submission.release(sends=frozenset({released}), fetches=frozenset({"elsewhere"}))
    assert future.released
    assert list(submission.sends) == kept
    assert not any(cast(Any, each).released for each in submission.held())


@pytest.mark.parametrize("region", [OREGON, IOWA])
def test_cancelled_part_holds_nothing(region: Region) -> None:
    """Results, sent values and fetched ones are all released."""
    submission = send(split(), region, Client())
    submission.cancel()
    assert submission.held()
    assert all(cast(Any, each).released for each in submission.held())


def test_every_key_of_a_run_is_its_own() -> None:
    """No key of one run is a key of another, or of the plain graph."""
    client = Client()
    send(split(), OREGON, client)
    ((expression, keys, _),) = client.asked
    tasks = expression.__dask_graph__()
    assert all("r1" in str(key) for key in tasks)
    assert set(keys) <= set(tasks)


@pytest.mark.parametrize("relayed", [False, True], ids=["direct", "relayed"])
def test_fetches_ask_for_what_the_producer_sends(relayed: bool) -> None:
    """What a fetch asks for is what the other side makes, or the client mails."""
    plan, client = split(), Client()
    send(plan, OREGON, client, relayed=relayed)
    tasks = client.asked[0][0].__dask_graph__()
    fetches = [
        task
        for task in tasks.values()
        if isinstance(task, Task) and isinstance(task.func, Shipped) and "fetch" in repr(task.func)
    ]
    assert len(fetches) == len(plan.boundaries)
    asked = {task.args[2] for task in fetches}
    if relayed:
        assert asked == {relayed_key(boundary.key, "r1") for boundary in plan.boundaries}
    else:
        producer = Client()
        send(plan, IOWA, producer)
        assert asked == set(producer.asked[0][1])
    assert {task.args[4] for task in fetches} == {task.key for task in fetches}


def test_fetches_are_never_fused() -> None:
    """A fetch is a coroutine: run inside another task, it would be a value nobody awaits."""
    plan, client = split(), Client()
    submission = send(plan, OREGON, client)
    tasks = client.asked[0][0].__dask_graph__()
    for future in submission.fetches.values():
        assert "fetch" in repr(tasks[future.key].func)


def test_annotations_of_the_user_hold() -> None:
    """What dask.annotate has set where the user called is in effect when tasks are sent."""
    client = Client()
    send(split(), OREGON, client)
    ((_, _, annotations),) = client.asked
    assert annotations["priority"] == 7
    assert annotations["span"]["name"] == ("xr-locality", "r1")
    assert dask.get_annotations() == {}


def test_key_of_a_future_is_the_plans() -> None:
    """Messages name keys as the plan does, not as the run does."""
    plan = split()
    submission = send(plan, IOWA, Client())
    for key, future in submission.sends.items():
        assert submission.key_of(future) == key


def test_whole_graph_is_sent_with_its_layers() -> None:
    """In one region layers stay symbolic: the scheduler makes the tasks."""
    array, client = da.ones((8, 6), chunks=2).mean(0), Client()
    plan = xl.plan(array, endpoints={str(OREGON): None})
    submission = send(plan, plan.regions[0], client)
    assert set(submission.outputs) == set(plan.bundle.keys())
    ((expression, keys, _),) = client.asked
    assert keys == [rename(key, "r1") for key in flatten(array.__dask_keys__())]
    kept = expression.hlg.layers
    assert all(kept[name] is layer for name, layer in array.dask.layers.items())
    assert any(isinstance(layer, Blockwise) for layer in kept.values())


def test_every_key_in_one_region_is_the_runs_own() -> None:
    """A scheduler keeps the tasks of keys that it knows, and would return old values."""
    frame = dd.from_pandas(pd.DataFrame({"a": range(6)}), npartitions=2)
    client = Client()
    both = (frame.a + 1).sum(), da.ones(3).sum(), dask.delayed(np.sum)(da.ones(2))
    plan = xl.plan(*both, endpoints={str(OREGON): None})
    send(plan, plan.regions[0], client)
    ((expression, keys, _),) = client.asked
    tasks = expression.__dask_graph__()
    assert set(keys) <= set(tasks)
    assert all("r1" in str(key) for key in tasks)


def test_annotations_of_layers_hold_in_one_region() -> None:
    """What dask.annotate has set where a layer was made goes with its renamed tasks."""
    with dask.annotate(retries=3, priority=lambda key: 10 * key[1]):
        array = da.ones(4, chunks=2)
    client = Client()
    with dask.config.set({"optimization.fuse.active": False}):
        plan = xl.plan(array, endpoints={str(OREGON): None})
        send(plan, plan.regions[0], client)
        ((expression, keys, _),) = client.asked
        annotations = expression.__dask_annotations__()
    assert annotations["retries"] == dict.fromkeys(keys, 3)
    assert annotations["priority"] == {key: 10 * key[1] for key in keys}


def test_collections_of_all_kinds_are_sent_together() -> None:
    """One after another they would redefine the keys they share; fusing renames a frame's."""
    frame = dd.from_pandas(pd.DataFrame({"a": range(6)}), npartitions=2)
    array = da.ones(3)
    client = Client()
    both = (frame.a + 1).sum(), array, dask.delayed(np.sum)(array)
    plan = xl.plan(*both, endpoints={str(OREGON): None})
    bundle = plan.bundle
    submission = send(plan, plan.regions[0], client)
    assert set(submission.outputs) == set(bundle.keys())
    ((expression, keys, _),) = client.asked
    values = get_sync(expression.__dask_graph__(), keys)
    made = dict(zip((future.key for future in submission.outputs.values()), values, strict=True))
    named = {key: made[future.key] for key, future in submission.outputs.items()}
    assert_same(bundle.assemble(named), (np.int64(21), np.ones(3), np.float64(3.0)))


@pytest.mark.parametrize("key", ["x-1", ("x-1", 0, 2)], ids=str)
def test_names_of_sent_values_cannot_be_taken_for_others(key: Key) -> None:
    """A value, its packed form and its relayed form have three different names."""
    boundary = Boundary(key=key, layer="x-1", source=IOWA, targets=(OREGON,), nbytes=8)
    names = {
        key,
        send_key(key),
        wanted_key(boundary, "r1", relayed=False),
        wanted_key(boundary, "r1", relayed=True),
        wanted_key(boundary, "r2", relayed=True),
    }
    assert len(names) == 5


def test_rest_of_a_part_takes_only_what_it_needs() -> None:
    """Sent again for one of its results, a part fetches what that one needs, under new keys."""
    plan = split()
    program = Program.of(plan).region(OREGON)
    partition = program.partition
    links = {
        each.source: OpenLink(name="link", share=b"s", relayed=False) for each in partition.fetches
    }
    output = partition.outputs[0]
    client = Client()
    rest = Remainder(attempt=2, outputs=frozenset({output}), sends=frozenset())
    submission = asyncio.run(
        submit(program, connection_of(client), run="r1", links=links, annotations={}, rest=rest)
    )
    assert set(submission.outputs) == {output}
    assert len(submission.fetches) == 1 < len(partition.fetches)
    tasks = client.asked[0][0].__dask_graph__()
    (future,) = submission.fetches.values()
    assert tasks[future.key].args[4] == future.key
    assert "r1-2" in str(future.key)
