"""How many workers a partition can keep busy."""

from __future__ import annotations

import math
from typing import Final

from dask.blockwise import Blockwise
from dask.highlevelgraph import Layer, MaterializedLayer

from xr_locality.plan.model import Partition

__all__ = ["workers_for"]

#: More workers than any endpoint has.
_MANY: Final = 1_000_000


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
