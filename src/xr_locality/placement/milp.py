r"""The best placement in many regions, of few tasks: a mixed-integer program.

Objective: :math:`\min \sum_v s(v) \sum_{m, q} c(m, q) f_{v m q}`, where :math:`x_{t r} \in
\{0, 1\}` says whether task :math:`t` runs in region :math:`r`, :math:`z_{v q}` whether value
:math:`v` is needed at place :math:`q`, and :math:`f_{v m q}` that it gets there from
:math:`m`, subject to

.. math::

    \sum_r x_{t r} = 1, \quad z_{v q} \ge x_{t q} \text{ for each } t \text{ that takes } v,
    \quad \sum_m f_{v m q} = z_{v q}, \quad f_{v m q} \le x_{m(v) m}.

Its relaxation is the local polytope with count-once values, often integral as it is, and the
solver (HiGHS, in scipy) bounds the optimum even where it runs out of nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from xr_locality.placement.problem import PlacementProblem, Prices

__all__ = ["Solved", "program_size", "solve_program"]

_Ints = NDArray[np.int64]

#: Branches that the solver may look at; a limit in seconds would not be deterministic.
_MOST_NODES = 200
#: Of a solver that works with floats: absolute, where the highest cost is 1. HiGHS's own
#: is 1e-7, and its bounds were seen to be too high by twice that.
_TOLERANCE = 5e-7


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Solved:
    """What the solver found: a placement, if any, and a bound on the cost of all."""

    placed: _Ints | None
    lower_bound: float


def program_size(problem: PlacementProblem) -> int:
    """Count the variables of the program."""
    n_regions = problem.n_regions
    inner = len(np.unique(problem.values[problem.takers >= problem.n_places]))
    return problem.n_tasks * n_regions + inner * (n_regions + n_regions**2)


def solve_program(problem: PlacementProblem, prices: Prices, *, most: int) -> Solved:
    """Place tasks at the least total cost, or bound it.

    Costs far above what some placement is known to cost are all as bad, and taken to be
    twice that: the best are the same, and the solver, which works with floats, sees what
    matters.

    Parameters
    ----------
    problem : PlacementProblem
        Small, without pins and units; see :func:`program_size`.
    prices : Prices
        Of a byte from each place to each other.
    most : int
        What some placement costs, in the unit of the prices; the less, the better.

    Returns
    -------
    Solved
        The bound is in the unit of the prices, and has the tolerance of floats.
    """
    program = _Program(n_regions=problem.n_regions, n_tasks=problem.n_tasks)
    constant = program.add(problem, prices.objective)
    if most <= constant:
        return Solved(placed=None, lower_bound=constant)
    costs = np.minimum(program.costs, 2 * (most - constant))
    scale = float(costs.max(initial=0.0)) or 1.0
    integral = np.zeros(len(costs))
    integral[: problem.n_tasks * problem.n_regions] = 1
    found = milp(
        costs / scale,
        constraints=program.constraints(),
        integrality=integral,
        bounds=Bounds(0, 1),
        options={"node_limit": _MOST_NODES, "mip_rel_gap": 0.0},
    )
    bound = found.mip_dual_bound
    known = bound is not None and np.isfinite(bound)
    lower = (bound - _TOLERANCE * max(1.0, bound)) * scale if known else 0.0
    placed = None
    if found.x is not None:
        chosen = found.x[: problem.n_tasks * problem.n_regions]
        placed = chosen.reshape(problem.n_tasks, problem.n_regions).argmax(axis=1)
    return Solved(placed=placed, lower_bound=max(0.0, lower) + constant)


@dataclass(slots=True, kw_only=True, eq=False)
class _Program:
    n_regions: int
    n_tasks: int
    costs: list[float] = field(default_factory=list)
    rows: list[tuple[list[int], list[float], float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.costs += [0.0] * (self.n_tasks * self.n_regions)
        for task in range(self.n_tasks):
            runs = [self.runs(task, region) for region in range(self.n_regions)]
            self._row(runs, [1.0] * self.n_regions, 1.0, 1.0)

    def runs(self, task: int, region: int) -> int:
        return task * self.n_regions + region

    def _variable(self, cost: float) -> int:
        self.costs.append(cost)
        return len(self.costs) - 1

    def _row(
        self, columns: Sequence[int], factors: Sequence[float], low: float, high: float
    ) -> None:
        self.rows.append((list(columns), list(factors), low, high))

    def add(self, problem: PlacementProblem, prices: _Ints) -> float:
        """Add all values; return what those cost that no task has to do with."""
        taken: dict[int, list[int]] = {}
        for value, taker in zip(problem.values.tolist(), problem.takers.tolist(), strict=True):
            taken.setdefault(value, []).append(taker)
        constant = 0.0
        for value, takers in taken.items():
            constant += self._value(
                float(problem.nbytes[value]),
                int(problem.makers[value]),
                takers,
                prices,
                problem.n_places,
            )
        return constant

    def _value(
        self, nbytes: float, maker: int, takers: list[int], prices: _Ints, n_places: int
    ) -> float:
        places = {taker for taker in takers if taker < n_places}
        tasks = [taker - n_places for taker in takers if taker >= n_places]
        constant = 0.0
        for place in sorted(places):
            if maker < n_places:
                constant += nbytes * float(prices[maker, place])
            else:
                for region in range(self.n_regions):
                    here = self.runs(maker - n_places, region)
                    self.costs[here] += nbytes * float(prices[region, place])
        for region in range(self.n_regions) if tasks else ():
            if region in places:
                continue
            if maker < n_places:
                needed = self._variable(nbytes * float(prices[maker, region]))
            else:
                needed = self._variable(0.0)
                flows = [
                    self._variable(nbytes * float(prices[source, region]))
                    for source in range(self.n_regions)
                ]
                self._row([*flows, needed], [1.0] * len(flows) + [-1.0], 0.0, 0.0)
                for source, flow in enumerate(flows):
                    here = self.runs(maker - n_places, source)
                    self._row([flow, here], [1.0, -1.0], -np.inf, 0.0)
            for task in tasks:
                self._row([needed, self.runs(task, region)], [1.0, -1.0], 0.0, np.inf)
        return constant

    def constraints(self) -> LinearConstraint:
        lengths = [len(columns) for columns, *_ in self.rows]
        matrix = coo_array(
            (
                np.concatenate([factors for _, factors, *_ in self.rows]),
                (
                    np.repeat(np.arange(len(self.rows)), lengths),
                    np.concatenate([columns for columns, *_ in self.rows]),
                ),
            ),
            shape=(len(self.rows), len(self.costs)),
        )
        low = np.array([low for *_, low, _ in self.rows])
        high = np.array([high for *_, high in self.rows])
        return LinearConstraint(matrix.tocsr(), low, high)
