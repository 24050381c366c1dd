"""What may not leave a region: policy and catalogs say it, plans must keep to it."""

from __future__ import annotations

from collections.abc import Iterator

from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from xr_locality.errors import SourceError
from xr_locality.graph import view
from xr_locality.plan.model import Plan, Transfer
from xr_locality.plan.survey import Source

__all__ = ["residency_problems"]


def residency_problems(
    plan: Plan, graph: HighLevelGraph, *, remote_read_allowed: bool
) -> list[Exception]:
    """List what a plan would move although it may not.

    A source whose tag says ``leaves: never`` keeps its region: neither its stored
    bytes nor any value computed from them may cross. With ``leaves: reduced``
    values computed from it may, its chunks as they are read may not.

    Parameters
    ----------
    plan : Plan
        What would be moved.
    graph : HighLevelGraph
        The graph planned, not optimised.
    remote_read_allowed : bool
        Whether stored bytes may be read from another region at all.

    Returns
    -------
    list of Exception
        A :class:`SourceError` for each source that would leave.
    """
    reads = [
        transfer
        for group in plan.transfers.groups
        if group.why == "remote-read"
        for transfer in group.transfers()
    ]
    problems: list[Exception] = [
        SourceError(
            f"{str(read.key)!r} in region {str(read.source)!r} would be read from region "
            f"{str(read.target)!r}, and remote_read='never' forbids it. Add an endpoint for its "
            "region, or allow remote reads.",
            url=str(read.key),
        )
        for read in reads
        if not remote_read_allowed
    ]
    kept = [source for source in plan.sources if source.leaves != "always"]
    leaving = [(source, next(_leaving(plan, graph, source), None)) for source in kept]
    problems += [_forbidden(source, transfer) for source, transfer in leaving if transfer]
    return problems


def _leaving(plan: Plan, graph: HighLevelGraph, source: Source) -> Iterator[Transfer]:
    """List the transfers in which something of a source leaves its region."""
    reading = {name for name, needs in graph.dependencies.items() if needs & source.layers.keys()}
    raw = reading | {name for name in source.layers if not _holds_values(graph, name)}
    for transfer in plan.transfers:
        if transfer.why == "remote-read":
            if transfer.key == source.url and transfer.source == source.region:
                yield transfer
        elif transfer.why in ("boundary", "result") and transfer.source == source.region:
            made_by = _layer_of(graph, transfer.key)
            if source.leaves == "never":
                if view.ancestors(graph, [made_by]) & source.layers.keys():
                    yield transfer
            elif made_by in raw:
                yield transfer


def _holds_values(graph: HighLevelGraph, name: str) -> bool:
    layer = graph.layers[name]
    return not view.is_symbolic(layer) and all(map(view.is_value, layer.values()))


def _layer_of(graph: HighLevelGraph, key: Key) -> str:
    name = key[0] if isinstance(key, tuple) and key else key
    if isinstance(name, str) and name in graph.layers:
        return name
    return next(each for each, layer in graph.layers.items() if key in layer)


def _forbidden(source: Source, transfer: Transfer) -> SourceError:
    what = "values computed from it" if source.leaves == "never" else "its chunks"
    mend = (
        "Set client_region to its region, or let computed values leave with leaves: reduced."
        if source.leaves == "never"
        else "Reduce the data before they are combined with others, or returned."
    )
    return SourceError(
        f"{source.url!r} may not leave region {str(source.region)!r} (leaves: {source.leaves}), "
        f"and the plan moves {what} to {str(transfer.target)!r}, as {transfer.key!r}. {mend}",
        url=source.url,
        region=str(source.region),
    )
