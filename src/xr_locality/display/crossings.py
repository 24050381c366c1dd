"""What crosses, summed by pair of regions and reason, with a few names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dask.core import flatten
from dask.typing import Key
from dask.utils import key_split

from xr_locality.graph.layer_keys import key_name
from xr_locality.plan.model import PlanRecord
from xr_locality.plan.transfers import Crossings, Why
from xr_locality.regions.region import Region

__all__ = ["Crossing", "crossings"]

#: Kinds of values that a crossing names; the others are only counted.
_MOST_NAMES: Final = 5

#: Keys of one group that are looked at for their names. Keys of a layer stand together, so
#: that its first and last stand for those between.
_MOST_LOOKS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """All that goes from one region to another for one reason.

    Attributes
    ----------
    source, target : Region
        The regions that the bytes leave and enter.
    why : {"boundary", "remote-read", "result", "upload"}
        As for a :class:`~xr_locality.plan.transfers.Transfer`.
    n_values : int
        How many values cross.
    nbytes : int
        Their bytes.
    usd : float
        What they cost.
    price : str
        Where that price comes from.
    names : tuple of str
        Variables, kinds of tasks or URLs, the first few.
    n_names : int
        How many there are of them; where very many values cross, how many were found.
    """

    source: Region
    target: Region
    why: Why
    n_values: int
    nbytes: int
    usd: float
    price: str
    names: tuple[str, ...]
    n_names: int


def crossings(plan: PlanRecord) -> Iterator[Crossing]:
    """Sum what a plan moves by pair of regions and reason; lists no single transfer."""
    grouped: dict[tuple[Region, Region, Why], list[Crossings]] = {}
    for group in plan.transfers.groups:
        grouped.setdefault((group.source, group.target, group.why), []).append(group)
    variables = {
        _layer(key): str(part.variable)
        for part in plan.bundle.parts
        if part.variable is not None
        for key in _first(part.keys)
    }
    for (source, target, why), groups in sorted(grouped.items()):
        nbytes = sum(group.nbytes for group in groups)
        names = dict.fromkeys(
            _in_words(key, why, variables) for group in groups for key in _telling(group.keys)
        )
        yield Crossing(
            source=source,
            target=target,
            why=why,
            n_values=sum(len(group.keys) for group in groups),
            nbytes=nbytes,
            usd=plan.costs.usd(source, target, nbytes),
            price=plan.costs.price(source, target).evidence,
            names=tuple(names)[:_MOST_NAMES],
            n_names=len(names),
        )


def _telling(keys: Sequence[Key]) -> list[Key]:
    """Pick keys so that each layer among them is there: all if they are few."""
    if len(keys) <= _MOST_LOOKS:
        return list(keys)
    picked: dict[int, Key] = {}
    spans = [(0, len(keys) - 1)]
    while spans and len(picked) < _MOST_LOOKS:
        first, last = spans.pop()
        picked[first], picked[last] = keys[first], keys[last]
        if last - first > 1 and _layer(keys[first]) != _layer(keys[last]):
            middle = (first + last) // 2
            spans += [(middle, last), (first, middle)]
    return [picked[at] for at in sorted(picked)]


def _in_words(key: Key, why: Why, variables: Mapping[str, str]) -> str:
    """Name what crosses: a variable, a kind of task, a URL."""
    if why == "result" and (variable := variables.get(_layer(key))):
        return variable
    if why in ("result", "boundary"):
        return str(key_split(key))
    return str(key)


def _layer(key: Key) -> str:
    return str(key_name(key))


def _first(keys: list[Any]) -> Iterator[Key]:
    """Give the first of some nested keys, if there is one: chunks of one array share a name."""
    for key in flatten([keys]):
        yield key
        return
