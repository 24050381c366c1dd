"""The same work done in other ways, priced by the same model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from xr_locality.placement.costs import CostModel
from xr_locality.plan.model import Baseline
from xr_locality.plan.read_estimates import Reads
from xr_locality.regions.region import Region

__all__ = ["baselines"]


def baselines(
    reads: Reads,
    *,
    usable: Collection[Region],
    results: int,
    uploads: int | None,
    client: Region,
    costs: CostModel,
) -> dict[str, Baseline]:
    """Price pulling everything here, and running everything in each usable region.

    Parameters
    ----------
    reads : Reads
        Stored bytes read of each source, and values written to stores.
    usable : collection of Region
        Where tasks may run.
    results : int
        Bytes of the results.
    uploads : int or None
        Bytes of arrays embedded in the graph, which start at the client; None where
        they have to be summed.
    client : Region
        Where results go.
    costs : CostModel
        Prices and bandwidths.

    Returns
    -------
    dict of str to Baseline
        ``local`` first, then ``all in <region>`` in order of the regions.
    """
    stored = reads.by_regions()
    price = partial(_baseline, stored=stored, written=reads.written(), client=client, costs=costs)
    compared = {"local": price(client, results=0, uploads=0)}
    if uploads is None:
        uploads = _embedded(reads)
    for region in sorted(usable):
        compared[f"all in {region}"] = price(region, results=results, uploads=uploads)
    return compared


def _embedded(reads: Reads) -> int:
    """Sum the arrays that the graph holds, each once."""
    held = reads.structure.flags("values")
    return int(reads.sizes.nbytes[held].sum())


def _baseline(
    region: Region,
    *,
    stored: Mapping[tuple[Region, ...], int],
    written: Mapping[Region, int],
    results: int,
    uploads: int,
    client: Region,
    costs: CostModel,
) -> Baseline:
    moved = [
        (min(sources, key=lambda source: costs.usd(source, region, nbytes)), region, nbytes)
        for sources, nbytes in stored.items()
        if region not in sources
    ]
    moved += [(region, target, nbytes) for target, nbytes in written.items()]
    moved += [(region, client, results), (client, region, uploads)]
    return Baseline(
        nbytes=sum(int(costs.nbytes(*move)) for move in moved),
        usd=sum(costs.usd(*move) for move in moved),
        seconds=sum(costs.seconds(*move) for move in moved),
    )
