"""Submission of a region's program to its scheduler, and the Futures of what it owes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import Any

from dask.base import annotate
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer
from dask.typing import Key
from distributed import Future, span

from xr_locality.compat.dask_expressions import Expr, graph_expression, join_expressions
from xr_locality.compat.dask_graph import Task, TaskRef, is_future
from xr_locality.endpoints.connection import Connection
from xr_locality.execution import remote
from xr_locality.execution.ship import Shipped
from xr_locality.execution.transport.cluster_links import OpenLink
from xr_locality.execution.transport.staging import StoreAccess, Stores
from xr_locality.graph.layers import holds_futures
from xr_locality.plan.model import Boundary, Partition
from xr_locality.program.executable import OutputGroup, RegionProgram
from xr_locality.regions.region import Region

__all__ = ["Remainder", "Submission", "submit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remainder:
    """What is left of a partition that was sent before.

    Attributes
    ----------
    attempt : int
        How often it is sent again; makes keys unlike those sent before.
    outputs, sends : frozenset of key
        What it still owes.
    """

    attempt: int
    outputs: frozenset[Key]
    sends: frozenset[Key]


@dataclass(slots=True, kw_only=True)
class Submission:
    """What a region was sent.

    Attributes
    ----------
    connection : Connection
        Where it was sent.
    span_id : str
        The span that its tasks are counted under.
    outputs, sends, fetches : dict of key to Future
        What is held there, by the plan's keys.
    arrived : set of key
        Fetches that have been there; cleared of those that were lost.
    """

    connection: Connection
    span_id: str
    outputs: dict[Key, Future[Any]] = field(default_factory=dict)
    sends: dict[Key, Future[Any]] = field(default_factory=dict)
    fetches: dict[Key, Future[Any]] = field(default_factory=dict)
    arrived: set[Key] = field(default_factory=set)

    def key_of(self, future: Future[Any]) -> Key:
        """Get the key that a plan knows a Future by."""
        for held in (self.outputs, self.sends, self.fetches):
            for key, each in held.items():
                if each.key == future.key:
                    return key
        return future.key

    def held(self) -> list[Future[Any]]:
        """List all Futures that are still held."""
        return [*self.outputs.values(), *self.sends.values(), *self.fetches.values()]

    def release(self, *, sends: frozenset[Key], fetches: frozenset[Key]) -> None:
        """Release boundary values that are not needed any more."""
        for held, keys in ((self.sends, sends), (self.fetches, fetches)):
            for key in keys:
                if (future := held.pop(key, None)) is not None:
                    future.release()

    def cancel(self) -> None:
        """Let the region forget all: tasks that do not run yet never will.

        Not by ``Client.cancel``: it fails in the scheduler where a task that no client
        holds takes one that is cancelled, and the scheduler then drops the client.
        """
        for future in self.held():
            future.release()


async def submit(
    program: RegionProgram,
    connection: Connection,
    *,
    run: str,
    annotations: Mapping[str, Any],
    links: Mapping[Region, OpenLink] = MappingProxyType({}),
    fall_back: bool = False,
    stores: Stores | None = None,
    n_workers: int = 1,
    rest: Remainder | None = None,
) -> Submission:
    """Send a region its program, as ``client.compute`` would, but not finalised.

    Layers stay symbolic: the scheduler optimises and materialises them. Chunks are
    assembled by the client, which is faster than on one worker.

    Parameters
    ----------
    program : RegionProgram
        The tasks of the region.
    connection : Connection
        The region's cluster.
    run : str
        Names the run's span, and makes its keys unlike those of any other run.
    annotations : mapping
        What ``dask.annotate`` has set where the user called.
    links : mapping of Region to OpenLink, optional
        How its workers reach the regions that it fetches from.
    fall_back : bool, optional
        Whether a fetch that cannot reach the other region asks for what the client
        relays.
    stores : Stores, optional
        Where values are staged. By default none is.
    n_workers : int, optional
        How many workers will share the work.
    rest : Remainder, optional
        What is left of it, when it is sent again; by default all.
    """
    own = run if rest is None else f"{run}-{rest.attempt}"
    if program.groups:
        sent = _in_groups(program, own, rest)
    else:
        fetches = _fetch_tasks(
            program.partition,
            run,
            own=own,
            links=links,
            fall_back=fall_back,
            store=stores.own if stores else None,
        )
        sent = await _in_one_piece(
            program, fetches, own=own, stores=stores, n_workers=n_workers, rest=rest
        )
    with annotate(**annotations), span("xr-locality", run) as span_id:
        futures = await _send(connection, sent.expression, sent.names)
    return Submission(
        connection=connection,
        span_id=span_id,
        outputs={key: futures[name] for key, name in sent.outputs.items()},
        sends={key: futures[name] for key, name in sent.sends.items()},
        fetches={key: futures[name] for key, name in sent.fetches.items()},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expression:
    """An expression for a scheduler, and the scheduler's names of the plan's keys."""

    expression: Expr
    #: All that is asked for, in the order of the expression's own keys.
    names: list[Key]
    outputs: Mapping[Key, Key]
    sends: Mapping[Key, Key] = field(default_factory=dict)
    fetches: Mapping[Key, Key] = field(default_factory=dict)


def _in_groups(program: RegionProgram, own: str, rest: Remainder | None) -> _Expression:
    """Make what dask itself would send, under other keys: each group by its own optimiser."""
    expressions = [_expression_of(program, group, own) for group in program.groups]
    # At once: sent one after another, they would redefine the keys that they share.
    together = join_expressions(expressions)
    # Fusing a DataFrame's expression renames its keys, and keeps their order.
    held = _held_by_user(program.graph)
    names = [
        key if key in held else remote.rename(key, own) for key in flatten(together.__dask_keys__())
    ]
    keys = chain.from_iterable(group.keys for group in program.groups)
    return _Expression(
        expression=together,
        names=names,
        outputs={
            key: name
            for key, name in zip(keys, names, strict=True)
            # A key without a Future is not computed.
            if rest is None or key in rest.outputs
        },
    )


def _held_by_user(graph: HighLevelGraph) -> set[Key]:
    """Find the keys of Futures in a graph that a scheduler knows by these very keys."""
    held: set[Key] = set()
    for layer in graph.layers.values():
        if holds_futures(layer):
            for key, value in layer.items():
                # As dask reads them: a task that holds the Future, or the Future itself.
                future: Any = getattr(value, "value", value)
                if is_future(value) and future.key == key:
                    held.add(key)
    return held


def _expression_of(program: RegionProgram, group: OutputGroup, own: str) -> Expr:
    if group.expression is not None and not program.is_rewritten(group):
        expression = group.expression.optimize()
        return graph_expression(
            HighLevelGraph({}, {}),
            list(flatten(expression.__dask_keys__())),
            Shipped(remote.OutputOptimizer(own, expression=expression)),
        )
    return graph_expression(
        program.graph_of(group),
        list(group.keys),
        Shipped(remote.OutputOptimizer(own, group.optimizer)),
    )


async def _in_one_piece(
    program: RegionProgram,
    fetch_tasks: Mapping[str, dict[Key, Task]],
    *,
    own: str,
    stores: Stores | None,
    n_workers: int,
    rest: Remainder | None,
) -> _Expression:
    """Make a partition with tasks that fetch what it lacks and send what others need."""
    partition = program.partition
    layers: dict[str, Layer] = dict(program.graph.layers)
    dependencies = {name: set(needs) for name, needs in program.graph.dependencies.items()}
    for name, tasks in fetch_tasks.items():
        layers[name] = MaterializedLayer({**layers.get(name, {}), **tasks})
        dependencies.setdefault(name, set())
        for layer, needs in partition.needs.items():
            if name in needs:
                dependencies[layer].add(name)
    outputs = [key for key in partition.outputs if rest is None or key in rest.outputs]
    sends = {key: send_key(key) for key in partition.sends if rest is None or key in rest.sends}
    if sends:
        layers[_SEND] = MaterializedLayer(
            _send_tasks(sends) if stores is None else _stage_tasks(sends, stores)
        )
        # No others: dask fuses no layer with what another layer depends on.
        dependencies[_SEND] = set(partition.send_layers)
    fetched = [boundary.key for boundary in partition.fetches]
    graph = HighLevelGraph(layers, dependencies)
    if rest is not None:
        # Only to see what is taken: the optimiser misses layers in what was culled.
        left = await asyncio.to_thread(graph.cull, {*outputs, *sends.values()})
        # Culled layers have other names.
        explicit = (each for each in left.layers.values() if isinstance(each, MaterializedLayer))
        taken = set(chain.from_iterable(explicit))
        fetched = [key for key in fetched if key in taken]
    owed = [*outputs, *sends.values(), *fetched]
    expression = graph_expression(
        graph,
        owed,
        Shipped(
            remote.PartitionOptimizer(
                own,
                partition.fixed,
                fetches=tuple(fetched),
                sends=frozenset(sends),
                nbytes=partition.layer_nbytes,
                window=_AHEAD_NBYTES * n_workers,
            )
        ),
    )
    names = {
        key: key if key in partition.fixed else remote.rename(key, own)
        for key in dict.fromkeys(owed)
    }
    return _Expression(
        expression=expression,
        names=list(names.values()),
        outputs={key: names[key] for key in outputs},
        sends={key: names[name] for key, name in sends.items()},
        fetches={key: names[key] for key in fetched},
    )


#: Bytes of values a worker that may be there before the boundary values that they are
#: combined with. Others wait to be begun: they would only fill memory.
_AHEAD_NBYTES = 64 * 2**20

#: Layer of the tasks that make boundary values ready to be sent.
_SEND = "locality-send"


def send_key(key: Key) -> Key:
    """Name the packed form of a boundary value."""
    if isinstance(key, tuple):
        return (f"{_SEND}-{key[0]}", *key[1:])
    return f"{_SEND}-{key}"


def relayed_key(key: Key, run: str) -> Key:
    """Name a boundary value that the client has relayed."""
    return remote.rename(("locality-mail", str(key)), run)


async def _send(
    connection: Connection, expression: Any, names: list[Key]
) -> dict[Key, Future[Any]]:
    # Pickling a large graph takes a while: not on the event loop.
    futures = await asyncio.to_thread(connection.client.get, expression, names, sync=False)
    return dict(zip(names, futures, strict=True))


def _send_tasks(sends: Mapping[Key, Key]) -> dict[Key, Task]:
    """Make the tasks that make boundary values ready to be moved."""
    packing = Shipped(remote.pack)
    return {name: Task(name, packing, TaskRef(key)) for key, name in sends.items()}


def _stage_tasks(sends: Mapping[Key, Key], stores: Stores) -> dict[Key, Task]:
    """Make the tasks that write boundary values to stores in the regions that need them."""
    staging = Shipped(remote.stage)
    return {
        name: Task(name, staging, TaskRef(key), dict(stores.beside[key]), str(key))
        for key, name in sends.items()
    }


def _fetch_tasks(
    partition: Partition,
    run: str,
    *,
    own: str,
    links: Mapping[Region, OpenLink],
    fall_back: bool,
    store: StoreAccess | None,
) -> dict[str, dict[Key, Task]]:
    """Make the tasks that fetch boundary values, by the layers that make these values."""
    fetching = Shipped(remote.fetch)
    tasks: dict[str, dict[Key, Task]] = {}
    for boundary in partition.fetches:
        link = links[boundary.source]
        facts = {
            "run": run,
            "source": str(boundary.source),
            "target": str(partition.region),
            "relayed": link.relayed,
        }
        tasks.setdefault(boundary.layer, {})[boundary.key] = Task(
            boundary.key,
            fetching,
            link.name,
            link.share,
            wanted_key(boundary, run, relayed=link.relayed),
            relayed_key(boundary.key, run) if fall_back else None,
            remote.rename(boundary.key, own),
            facts,
            store,
        )
    return tasks


def wanted_key(boundary: Boundary, run: str, *, relayed: bool) -> Key:
    """Name a boundary value as the scheduler that is asked for it knows it."""
    return relayed_key(boundary.key, run) if relayed else remote.rename(send_key(boundary.key), run)
