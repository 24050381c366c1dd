r"""Join tasks that some best placement has together, before anything is solved.

A task *follows* another, or a region, if moving it there never makes a placement
dearer, wherever everything else is. With :math:`D(a, b) = \max_p c(p, b) - c(p, a)`,
:math:`E(a, b) = \max_q c(a, q) - c(b, q)` and :math:`M(b) = \max_p c(p, b)` over all
places, and values that only one task takes called *sole*:

* a task whose values all go to one task follows it, if moving from any :math:`a` to any
  :math:`b` saves at least what its inputs may cost more:
  :math:`s_{out} \, c(a, b) \ge s_{sole} \, D(a, b) + s_{shared} \, M(b)`;
* a task follows what makes some of its sole inputs, of :math:`s_{in}` bytes, if moving from
  any :math:`b` to any :math:`a` saves at least what its values and its other inputs may
  cost more: :math:`s_{in} \, c(a, b) \ge n \, s_{out} \, E(a, b) + s_{sole} \, D(b, a)
  + s_{shared} \, M(a)`, where :math:`n` bounds in how many places its values are needed.

Each task follows at most one, so the tasks that follow can be moved one after another,
those who are followed first, and the cost never grows: there is a best placement in which
each is where it follows. All rules are applied at once, by arrays, and again to what they
made, until nothing follows. What is left of a reduction is nothing at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xr_locality.placement.problem import PlacementProblem, Prices, distinct

__all__ = ["Contracted", "contract", "merge"]

_Ints = NDArray[np.int64]

#: Rounds that change little are not worth their time: the solvers take what is left.
_LEAST_PROGRESS = 0.01
_MOST_ROUNDS = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contracted:
    """A smaller problem, and how a placement of it places all tasks.

    Attributes
    ----------
    problem : PlacementProblem
        Without pins and units: what is pinned has become a part of its place.
    entity_of : ndarray of int64, shape (n_tasks,)
        What each task of the first problem is now: a place, or a task of the smaller
        problem counted from ``n_places``.
    """

    problem: PlacementProblem
    entity_of: _Ints

    def expand(self, placed: NDArray[np.integer]) -> _Ints:
        """Place all tasks of the first problem, given places of the smaller one's."""
        places = np.arange(self.problem.n_places)
        expanded: _Ints = np.concatenate([places, np.asarray(placed, dtype=np.int64)])[
            self.entity_of
        ]
        return expanded


def contract(problem: PlacementProblem, prices: Prices) -> Contracted:
    """Join tasks that some best placement has together.

    Parameters
    ----------
    problem : PlacementProblem
        Checked: its pins can be kept.
    prices : Prices
        By the objective, and what decides ties: neither may grow where a task follows.

    Returns
    -------
    Contracted
        A placement of the smaller problem costs what its expansion costs, and the best
        one of it is a best one of the first.
    """
    small, entity_of = _pinned(problem)
    factors = _Factors.of(prices.objective, problem.n_regions).or_worse(
        _Factors.of(prices.ties, problem.n_regions)
    )
    for _ in range(_MOST_ROUNDS):
        if small.n_tasks == 0:
            break
        leaders = _leaders(small, factors)
        joined = int((leaders >= 0).sum())
        if joined == 0:
            break
        small, entity_of = _join(small, entity_of, _roots(leaders, small.n_places))
        if joined < _LEAST_PROGRESS * small.n_tasks:
            break
    return Contracted(problem=small, entity_of=entity_of)


def merge(problem: PlacementProblem, entities: _Ints) -> tuple[PlacementProblem, _Ints]:
    """Make some tasks parts of places or of each other.

    Parameters
    ----------
    problem : PlacementProblem
        Its pins and units are forgotten.
    entities : ndarray of int64, shape (n_tasks,)
        What each task becomes: a place, or a task counted from ``n_places``.

    Returns
    -------
    smaller : PlacementProblem
        Of the tasks that are left, in their order.
    entity_of : ndarray of int64, shape (n_tasks,)
        What each task is in it.
    """
    bare = replace(problem, pins=np.full(problem.n_tasks, -1, dtype=np.int64), units=None)
    identity = np.arange(problem.n_tasks, dtype=np.int64) + problem.n_places
    return _join(bare, identity, np.concatenate([np.arange(problem.n_places), entities]))


def _pinned(problem: PlacementProblem) -> tuple[PlacementProblem, _Ints]:
    """Make pinned tasks parts of their places, and units one task."""
    entities = np.arange(problem.n_tasks, dtype=np.int64) + problem.n_places
    if problem.units is not None:
        for unit in np.unique(problem.units[problem.units >= 0]):
            members = (problem.units == unit).nonzero()[0]
            pins = problem.pins[members]
            entities[members] = pins.max() if (pins >= 0).any() else members[0] + problem.n_places
    return merge(problem, np.where(problem.pins >= 0, problem.pins, entities))


def _join(
    problem: PlacementProblem, entity_of: _Ints, becomes: _Ints
) -> tuple[PlacementProblem, _Ints]:
    """Join entities that become the same one, and forget values that nothing else needs.

    Parameters
    ----------
    problem : PlacementProblem
        Without pins.
    entity_of : ndarray of int64, shape (n_first_tasks,)
        What each task of the first problem is in `problem`.
    becomes : ndarray of int64, shape (n_places + n_tasks,)
        What each place (itself) and each task of `problem` becomes: a place or a task.
    """
    n_places = problem.n_places
    kept = np.zeros(len(becomes), dtype=bool)
    kept[becomes] = True
    kept[:n_places] = False
    n_kept = int(kept.sum())
    renamed = np.where(becomes < n_places, becomes, (np.cumsum(kept) - 1 + n_places)[becomes])
    makers = renamed[problem.makers]
    takers = renamed[problem.takers]
    outside = makers[problem.values] != takers
    n_entities = n_places + n_kept
    pairs = distinct(problem.values[outside] * n_entities + takers[outside])
    values, takers = pairs // n_entities, pairs % n_entities
    needed = np.zeros(len(problem.nbytes), dtype=bool)
    needed[values] = True
    values = (np.cumsum(needed) - 1)[values]
    nbytes, makers = problem.nbytes[needed], makers[needed]
    nbytes, makers, values, takers = _merge_parallel(
        nbytes, makers, values, takers, n_entities=n_entities
    )
    small = replace(
        problem,
        n_tasks=n_kept,
        nbytes=nbytes,
        makers=makers,
        values=values,
        takers=takers,
        pins=np.full(n_kept, -1, dtype=np.int64),
    )
    return small, renamed[entity_of]


def _merge_parallel(
    nbytes: _Ints, makers: _Ints, values: _Ints, takers: _Ints, *, n_entities: int
) -> tuple[_Ints, _Ints, _Ints, _Ints]:
    """Add up values that one entity makes for one entity alone: they cross together."""
    sole = np.bincount(values, minlength=len(nbytes))[values] == 1
    ends = makers[values[sole]] * n_entities + takers[sole]
    pairs, group = np.unique(ends, return_inverse=True)
    if len(pairs) == len(ends):
        return nbytes, makers, values, takers
    sums = np.zeros(len(pairs), dtype=np.int64)
    np.add.at(sums, group, nbytes[values[sole]])
    shared = np.zeros(len(nbytes), dtype=bool)
    shared[values[~sole]] = True
    position = np.cumsum(shared) - 1
    return (
        np.concatenate([nbytes[shared], sums]),
        np.concatenate([makers[shared], pairs // n_entities]),
        np.concatenate([position[values[~sole]], shared.sum() + np.arange(len(sums))]),
        np.concatenate([takers[~sole], pairs % n_entities]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Factors:
    """What the rules ask of prices: worst ratios of a cost to what a move saves.

    Infinite where a move may save nothing and cost something.
    """

    #: Follow the one that takes: for sole and shared inputs.
    down_sole: float
    down_shared: float
    #: Follow what makes an input, by the region that it is in, the last one for tasks,
    #: which may be in any: for own values, sole and shared inputs, shape (n_regions + 1,).
    up_out: NDArray[np.float64]
    up_sole: NDArray[np.float64]
    up_shared: NDArray[np.float64]

    @classmethod
    def of(cls, prices: _Ints, n_regions: int) -> _Factors:
        """Take the worst over all pairs of regions."""
        priced = prices.astype(np.float64)
        inner = priced[:n_regions, :n_regions]
        # [a, b]: what an input may cost more in b than in a, and a value more from a than from b.
        dearer_in = (priced[:, None, :n_regions] - priced[:, :n_regions, None]).max(axis=0)
        dearer_out = (priced[:n_regions, None, :] - priced[None, :n_regions, :]).max(axis=2)
        most_in = priced[:, :n_regions].max(axis=0)
        down_sole = _worst(dearer_in, inner)
        down_shared = _worst(np.broadcast_to(most_in[None, :], inner.shape), inner)
        up_out = _worst_by_row(dearer_out, inner)
        up_sole = _worst_by_row(dearer_in.T, inner)
        up_shared = _worst_by_row(np.broadcast_to(most_in[:, None], inner.shape), inner)
        return cls(
            down_sole=down_sole,
            down_shared=down_shared,
            up_out=np.append(up_out, up_out.max()),
            up_sole=np.append(up_sole, up_sole.max()),
            up_shared=np.append(up_shared, up_shared.max()),
        )

    def or_worse(self, other: _Factors) -> _Factors:
        """Take the worse of each factor."""
        return _Factors(
            down_sole=max(self.down_sole, other.down_sole),
            down_shared=max(self.down_shared, other.down_shared),
            up_out=np.maximum(self.up_out, other.up_out),
            up_sole=np.maximum(self.up_sole, other.up_sole),
            up_shared=np.maximum(self.up_shared, other.up_shared),
        )


def _worst_by_row(costs: NDArray[np.float64], saved: NDArray[np.float64]) -> NDArray[np.float64]:
    off = ~np.eye(len(saved), dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(costs <= 0, 0.0, costs / saved)
    worst: NDArray[np.float64] = np.where(off, ratios, 0.0).max(axis=1, initial=0.0)
    return worst


def _worst(costs: NDArray[np.float64], saved: NDArray[np.float64]) -> float:
    return float(_worst_by_row(costs, saved).max(initial=0.0))


def _times(factor: NDArray[np.float64] | float, amount: NDArray[np.float64]) -> NDArray[np.float64]:
    """Multiply, where nothing is nothing even of what is infinitely dear."""
    with np.errstate(invalid="ignore"):
        return np.where(amount > 0, factor * amount, 0.0)


def _leaders(problem: PlacementProblem, factors: _Factors) -> _Ints:
    """Find what each task may follow: an entity, or -1."""
    n_places, n_tasks = problem.n_places, problem.n_tasks
    n_entities = n_places + n_tasks
    nbytes = problem.nbytes.astype(np.float64)
    counts = np.bincount(problem.values, minlength=len(nbytes))
    sole = counts == 1
    use_nbytes, use_sole = nbytes[problem.values], sole[problem.values]
    spread = np.minimum(counts, problem.n_places)
    amounts = _Amounts(
        nbytes=use_nbytes,
        sole=use_sole,
        in_sole=_sum(problem.takers, np.where(use_sole, use_nbytes, 0.0), n_entities),
        in_shared=_sum(problem.takers, np.where(use_sole, 0.0, use_nbytes), n_entities),
        out=_sum(problem.makers, nbytes * spread, n_entities),
    )
    leaders = np.full(n_tasks, -1, dtype=np.int64)
    _follow_makers(problem, factors, amounts, leaders)
    _follow_takers(problem, factors, amounts, leaders)
    return leaders


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Amounts:
    """Bytes of uses, shape (n_uses,), and sums of them by entity, shape (n_entities,)."""

    nbytes: NDArray[np.float64]
    #: Of values that nothing else takes.
    sole: NDArray[np.bool_]
    in_sole: NDArray[np.float64]
    in_shared: NDArray[np.float64]
    #: What each makes, once for each place in which it may be needed.
    out: NDArray[np.float64]


def _sum(entities: _Ints, nbytes: NDArray[np.float64], n_entities: int) -> NDArray[np.float64]:
    sums: NDArray[np.float64] = np.bincount(entities, weights=nbytes, minlength=n_entities).astype(
        np.float64
    )
    return sums


def _follow_makers(
    problem: PlacementProblem, factors: _Factors, amounts: _Amounts, leaders: _Ints
) -> None:
    """Let tasks follow what makes most of what they alone take."""
    n_places = problem.n_places
    taken = amounts.sole & (problem.takers >= n_places)
    makers = problem.makers[problem.values[taken]]
    # A place where nothing runs leads nobody.
    led = (makers < problem.n_regions) | (makers >= n_places)
    takers, makers, sizes = problem.takers[taken][led], makers[led], amounts.nbytes[taken][led]
    if not len(takers):
        return
    n_entities = n_places + problem.n_tasks
    pairs, group = np.unique(takers * n_entities + makers, return_inverse=True)
    sums = np.bincount(group, weights=sizes)
    takers, makers = pairs // n_entities, pairs % n_entities
    region = np.where(makers < problem.n_regions, makers, problem.n_regions)
    limit = (
        _times(factors.up_out[region], amounts.out[takers])
        + _times(factors.up_sole[region], amounts.in_sole[takers] - sums)
        + _times(factors.up_shared[region], amounts.in_shared[takers])
    )
    follows = sums >= limit
    takers, makers, sums = takers[follows], makers[follows], sums[follows]
    # The last one of equal takers wins: those that lead most strongly come last.
    order = np.lexsort((-makers, sums))
    leaders[takers[order] - n_places] = makers[order]


def _follow_takers(
    problem: PlacementProblem, factors: _Factors, amounts: _Amounts, leaders: _Ints
) -> None:
    """Let tasks follow the one that alone takes all of their values."""
    n_places, n_tasks = problem.n_places, problem.n_tasks
    made = problem.makers[problem.values]
    theirs = made >= n_places
    n_takers = np.bincount(made[theirs] - n_places, minlength=n_tasks)
    n_sole = np.bincount((made - n_places)[theirs & amounts.sole], minlength=n_tasks)
    # Values that one entity makes for another alone have been added up: one is all.
    alone = (n_takers == 1) & (n_sole == 1) & (leaders < 0)
    use = theirs & amounts.sole
    use[theirs] &= alone[made[theirs] - n_places]
    makers, takers, sizes = made[use], problem.takers[use], amounts.nbytes[use]
    # A result that goes where nothing runs cannot be followed.
    led = (takers < problem.n_regions) | (takers >= n_places)
    makers, takers, sizes = makers[led], takers[led], sizes[led]
    limit = _times(factors.down_sole, amounts.in_sole[makers]) + _times(
        factors.down_shared, amounts.in_shared[makers]
    )
    follows = sizes >= limit
    makers, takers = makers[follows], takers[follows]
    # Two that follow each other: the one that takes leads.
    both = (takers >= n_places) & (leaders[np.maximum(takers - n_places, 0)] == makers)
    leaders[takers[both] - n_places] = -1
    leaders[makers - n_places] = takers


def _roots(leaders: _Ints, n_places: int) -> _Ints:
    """Follow leaders to the last one: what each entity becomes, shape (n_places + n_tasks,).

    Joined tasks may take from each other both ways, and then follow each other in
    a circle; those of a circle follow nobody.
    """
    entities = np.arange(n_places + len(leaders), dtype=np.int64)
    leads = entities.copy()
    following = leaders >= 0
    leads[n_places:][following] = leaders[following]
    becomes = leads
    for _ in range(len(leads).bit_length()):
        becomes = becomes[becomes]
    astray = becomes[leads[becomes] != becomes]
    if not astray.size:
        return becomes
    # After so many steps, whoever still is on the way is in a circle, all round it.
    free = leaders.copy()
    free[np.unique(astray) - n_places] = -1
    return _roots(free, n_places)
