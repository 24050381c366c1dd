"""Opens what a plan needs, and tells those who wait what it waits for."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping
from typing import Final

from dask.blockwise import Blockwise
from dask.highlevelgraph import Layer, MaterializedLayer

from xr_locality.endpoints.base import Connection
from xr_locality.endpoints.pool import EndpointPool
from xr_locality.execution.progress import Callback, Progress
from xr_locality.plan.model import Partition
from xr_locality.regions.model import Region

__all__ = ["open_telling"]

logger = logging.getLogger(__name__)

#: Seconds between two looks at what is being opened.
_LOOK_SECONDS: Final = 0.1
#: More workers than any endpoint has.
_MANY: Final = 1_000_000

#: Seconds after which it is told again, though nothing has changed.
_AGAIN_SECONDS: Final = 1.0


async def open_telling(
    pool: EndpointPool, regions: Iterable[Region], *, callbacks: tuple[Callback, ...]
) -> Mapping[Region, Connection]:
    """Open regions in parallel, and tell what each waits for.

    Parameters
    ----------
    pool : EndpointPool
        Has the endpoints.
    regions : iterable of Region
        What to open.
    callbacks : tuple of Callback
        Get an event ``starting`` for each region, when what it waits for changes and
        each second.
    """
    telling = asyncio.create_task(_tell(pool, frozenset(regions), callbacks))
    try:
        opened = await pool.open(regions)
        if telling.done():
            # A callback that raises ends the run, as it does later.
            telling.result()
        return opened
    finally:
        telling.cancel()
        await asyncio.wait({telling})


def workers_for(partition: Partition, *, threads: int) -> int:
    """Say how many workers can have something to do at once; the endpoint caps it.

    The widest layer is what can run at once. Where layers cannot be counted without
    making their tasks, all tasks are taken, or as many workers as there may be.

    Parameters
    ----------
    partition : Partition
        The tasks of one region.
    threads : int
        How many tasks a worker runs at once.
    """
    widths = [_width(layer) for layer in partition.graph.layers.values()]
    known = [width for width in widths if width is not None]
    most = _MANY if partition.n_tasks is None else partition.n_tasks
    width = max(known, default=1) if len(known) == len(widths) else most
    return max(1, math.ceil(width / threads))


def _width(layer: Layer) -> int | None:
    """Count a layer's tasks, where that makes none of them."""
    if isinstance(layer, Blockwise):
        if layer.output_blocks is not None:
            return len(layer.output_blocks)
        return math.prod(int(layer.dims[index]) for index in layer.output_indices)
    return len(layer.mapping) if isinstance(layer, MaterializedLayer) else None


async def _tell(
    pool: EndpointPool, regions: frozenset[Region], callbacks: tuple[Callback, ...]
) -> None:
    told: dict[Region, tuple[str, float]] = {}
    while True:
        for region, starting in pool.starting.items():
            doing, seconds = told.get(region, ("", 0.0))
            changed = starting.doing != doing
            if region not in regions or not (
                changed or starting.seconds - seconds >= _AGAIN_SECONDS
            ):
                continue
            told[region] = starting.doing, starting.seconds
            if changed:
                logger.info("Starting %s: %s", region, starting.doing)
            facts = {
                "region": region,
                "endpoint": starting.endpoint,
                "doing": starting.doing,
                "seconds": starting.seconds,
                "deadline_seconds": pool.deadline_seconds,
            }
            for callback in callbacks:
                callback(Progress(run="", what="starting", facts=facts))
        await asyncio.sleep(_LOOK_SECONDS)
