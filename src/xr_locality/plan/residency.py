"""What may not leave a region: policy and catalogs say it, plans must keep to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from dask.highlevelgraph import HighLevelGraph, Layer
from dask.typing import Key

from xr_locality.errors import SourceError
from xr_locality.graph.layer_keys import key_name
from xr_locality.graph.layers import is_symbolic, toposort_layers
from xr_locality.graph.tasks import is_value
from xr_locality.plan.model import PlanRecord
from xr_locality.plan.survey import Source
from xr_locality.plan.transfers import Transfer
from xr_locality.regions.region import Region

__all__ = ["Residency", "residency_problems"]


def residency_problems(
    plan: PlanRecord, graph: HighLevelGraph, *, remote_read_allowed: bool
) -> list[Exception]:
    """List what a plan would move although it may not.

    A source whose tag says ``leaves: never`` keeps its region: neither its stored
    bytes nor any value computed from them may cross. So does each of its replicas in
    the region that it is listed in. With ``leaves: reduced``
    values computed from it may, its chunks as they are read may not.

    Parameters
    ----------
    plan : PlanRecord
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
            "region; an array whose chunks lie in several needs remote_read='allowed'.",
            url=str(read.key),
        )
        for read in reads
        if not remote_read_allowed
    ]
    residency = Residency.of(plan.sources, graph)
    return [*problems, *residency.problems(plan.transfers)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Residency:
    """Tells what of some sources may not go where.

    Attributes
    ----------
    kept : tuple of Source
        Those of which something may not leave.
    graph : HighLevelGraph
        What reads them, not optimised.
    """

    kept: tuple[Source, ...]
    graph: HighLevelGraph = field(repr=False)
    #: For each of `kept`, the layers of which no value may leave.
    _bound: tuple[set[str], ...] = field(repr=False)

    @classmethod
    def of(cls, sources: Iterable[Source], graph: HighLevelGraph) -> Residency:
        """Look at what a graph computes of sources that may not leave.

        Parameters
        ----------
        sources : iterable of Source
            All that are read.
        graph : HighLevelGraph
            What reads them, not optimised.
        """
        kept = tuple(source for source in sources if source.leaves != "always")
        return cls(kept=kept, graph=graph, _bound=tuple(_bound(graph, each) for each in kept))

    def of_key(self, key: Key) -> dict[str, str]:
        """Tell what a value may not leave its region with, by the URL of the source."""
        return {
            source.url: source.leaves
            for source, bound in zip(self.kept, self._bound, strict=True)
            if _layer_of(self.graph, key) in bound
        }

    def problems(self, transfers: Iterable[Transfer]) -> list[Exception]:
        """List what some transfers would move although it may not, once for each source."""
        if not self.kept:
            return []
        found: dict[int, Exception] = {}
        for transfer in transfers:
            for number in self._forbidding(transfer):
                found.setdefault(number, _forbidden(self.kept[number], transfer))
        return [found[number] for number in sorted(found)]

    def check(self, transfer: Transfer) -> None:
        """Refuse one transfer if it may not be.

        Raises
        ------
        SourceError
            If it would take from its region what may not leave it.
        """
        for number in self._forbidding(transfer):
            raise _forbidden(self.kept[number], transfer)

    def _forbidding(self, transfer: Transfer) -> Iterator[int]:
        """Tell which sources may not leave as a transfer would have them leave."""
        if not self.kept or transfer.why == "upload":
            return
        for number, (source, bound) in enumerate(zip(self.kept, self._bound, strict=True)):
            home = _home(source, transfer.source)
            if home is None or _serves(home, transfer.target):
                continue
            if transfer.why == "remote-read":
                if transfer.key in (source.url, *(each.store.url for each in source.replicas)):
                    yield number
            elif _layer_of(self.graph, transfer.key) in bound:
                yield number


def _home(source: Source, region: Region) -> Region | None:
    """Name the region in which a source, or a replica of it, is, if that is `region`."""
    if source.region is None:
        return None
    return next((each for each in source.regions if _serves(each, region)), None)


def _serves(home: Region, region: Region) -> bool:
    return home.overlaps(region)


def _bound(graph: HighLevelGraph, source: Source) -> set[str]:
    """Name the layers of which no value may leave a source's region."""
    reading = {name for name, needs in graph.dependencies.items() if needs & source.layers.keys()}
    raw = reading | {
        name
        for name in source.layers
        if name in graph.layers and not _holds_values(graph.layers[name])
    }
    if source.leaves == "reduced":
        return raw
    bound = set(source.layers)
    for name in toposort_layers(graph):
        if bound & graph.dependencies.get(name, set()):
            bound.add(name)
    return bound


def _holds_values(layer: Layer) -> bool:
    return not is_symbolic(layer) and all(map(is_value, layer.values()))


def _layer_of(graph: HighLevelGraph, key: Key) -> str:
    name = key_name(key)
    if isinstance(name, str) and name in graph.layers:
        return name
    return next((each for each, layer in graph.layers.items() if key in layer), "")


def _forbidden(source: Source, transfer: Transfer) -> SourceError:
    if transfer.why == "remote-read":
        what = "its stored bytes"
    else:
        what = "values computed from it" if source.leaves == "never" else "its chunks"
    mend = (
        "Set client_region to its region, or let computed values leave with leaves: reduced."
        if source.leaves == "never"
        else "Reduce the data before they are combined with others, or returned."
    )
    home = _home(source, transfer.source) or source.region
    return SourceError(
        f"{source.url!r} may not leave region {str(home)!r} (leaves: {source.leaves}), "
        f"and the plan moves {what} to {str(transfer.target)!r}, as {transfer.key!r}. {mend}",
        url=source.url,
        region=str(home),
    )
