"""The same work done in other ways, priced by the same model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from xr_locality.placement.costs import CostModel
from xr_locality.plan.model import Baseline
from xr_locality.plan.reads import Reads
from xr_locality.regions.model import Region

__all__ = ["baselines"]


def baselines(
    reads: Reads,
    *,
    usable: Collection[Region],
    results: int,
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
    compared = {"local": price(client, results=0)}
    for region in sorted(usable):
        compared[f"all in {region}"] = price(region, results=results)
    return compared


def _baseline(
    region: Region,
    *,
    stored: Mapping[tuple[Region, ...], int],
    written: Mapping[Region, int],
    results: int,
    client: Region,
    costs: CostModel,
) -> Baseline:
    moved = [
        (min(sources, key=lambda source: costs.usd(source, region, nbytes)), region, nbytes)
        for sources, nbytes in stored.items()
        if region not in sources
    ]
    moved += [(region, target, nbytes) for target, nbytes in written.items() if target != region]
    if region != client:
        moved.append((region, client, results))
    return Baseline(
        nbytes=sum(nbytes for _, _, nbytes in moved),
        usd=sum(costs.usd(source, target, nbytes) for source, target, nbytes in moved),
        seconds=sum(costs.seconds(source, target, nbytes) for source, target, nbytes in moved),
    )
