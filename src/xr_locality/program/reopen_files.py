"""Rewriter of graphs that open files again where they are read, instead of bringing them along."""

from __future__ import annotations

from xr_locality.program.executable import Program, replace_layers
from xr_locality.program.open_files import reopening
from xr_locality.sources.storage.netcdf import is_variable

__all__ = ["reopen_files"]


def reopen_files(program: Program) -> Program:
    """Make the graphs of a program open files of their own where they run.

    Parameters
    ----------
    program : Program
        A program whose graphs may hold open files.

    Returns
    -------
    Program
        To be sent, not to be run in this process.
    """
    names = {
        name
        for source in program.plan.sources
        for name, found in source.layers.items()
        if any(map(is_variable, found))
    }
    return program.rewrite(
        lambda _, graph: replace_layers(graph, names, lambda _, layer: reopening(layer))
    )
