"""Rewriter of graphs that read replicas in place of the originals of sources."""

from __future__ import annotations

from dask.highlevelgraph import HighLevelGraph

from xr_locality.program.executable import Program
from xr_locality.program.retarget import Copies, retarget
from xr_locality.regions.region import Region

__all__ = ["read_replicas"]


def read_replicas(program: Program) -> Program:
    """Make a program read the replicas that its plan has chosen.

    Only the replicas' metadata are read, to compare them with the original's.

    Parameters
    ----------
    program : Program
        A program whose graphs read the originals.

    Returns
    -------
    Program

    Raises
    ------
    SourceError
        If a replica cannot be opened, or is no copy of the original.
    """
    chosen: dict[Region, Copies] = {}
    for read in program.plan.replicas:
        if read.replica is not None:
            copies = chosen.setdefault(read.target, Copies())
            copies.add(
                (found.group for found in read.source.found), read.replica, read.source.layers
            )

    def rewrite(region: Region, graph: HighLevelGraph) -> HighLevelGraph:
        return retarget(graph, chosen[region]) if region in chosen else graph

    return program.rewrite(rewrite)
