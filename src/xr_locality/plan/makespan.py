"""How long moves take if pairs of regions move at the same time."""

from __future__ import annotations

from collections.abc import Iterable

from xr_locality.placement.costs import Cost
from xr_locality.plan.transfers import Crossings
from xr_locality.regions.region import Region

__all__ = ["makespan"]


def makespan(groups: Iterable[Crossings], seconds: Cost) -> float:
    r"""Estimate how long everything that crosses is on its way.

    Two phases, one after the other: results :math:`R` leave when the values between regions,
    stored bytes read from afar and uploads :math:`B` have arrived. In each, all pairs of
    regions move at the same time, and the slowest counts:

    .. math::

        \max_{(a, b)} t(a, b, B_{ab}) + \max_{(a, b)} t(a, b, R_{ab})

    Computing is left out, and so is that moves begin while tasks still run.

    Parameters
    ----------
    groups : iterable of Crossings
        What crosses.
    seconds : callable
        Prices a move in seconds.

    Returns
    -------
    float
        In seconds; 0 where nothing crosses.
    """
    phases: tuple[dict[tuple[Region, Region], int], ...] = ({}, {})
    for group in groups:
        moved = phases[group.why == "result"]
        pair = group.source, group.target
        moved[pair] = moved.get(pair, 0) + group.nbytes
    return sum(
        max((seconds(*pair, nbytes) for pair, nbytes in moved.items()), default=0.0)
        for moved in phases
    )
