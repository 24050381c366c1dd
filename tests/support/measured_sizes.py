"""Estimates of every key's bytes beside what they turn out to be."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from dask._task_spec import convert_legacy_graph
from dask.local import get_sync
from dask.typing import Key
from dask.utils import ensure_dict

from xr_locality.config import TrialFunctions
from xr_locality.graph.collections import unpack
from xr_locality.graph.dependencies import structure_of
from xr_locality.graph.sizes.estimator import Size, SizeEstimator
from xr_locality.graph.tasks import is_value


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Why a program's sizes are not all exact, and how far off they may be.

    Attributes
    ----------
    why : str
        The reason.
    factor : float
        Bound on how far a size that is not a guess may be off, either way.
    guessed : float
        The same for guesses; 1 where there may be none.
    """

    why: str
    factor: float = 1.0
    guessed: float = 1.0


#: Of values whose lengths are known only when they are made: never more than estimated.
BY_VALUES = Listed(why="lengths depend on values", guessed=10.0)
#: Of values of which nothing is known: the real ones here are a few bytes.
NOTHING_KNOWN = Listed(why="nothing is known of what a function returns", guessed=math.inf)
LABELS = Listed(why="labels that a block's function returns beside its arrays", factor=2.0)
MASKS = Listed(why="whether a partial has a mask depends on values", factor=1.3)


def real_nbytes(value: Any) -> int:
    """Bytes of the arrays that a value holds."""
    if isinstance(value, dict):
        return sum(map(real_nbytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(real_nbytes, value))
    if type(value).__name__ == "MultiArray":
        return sum(map(real_nbytes, value.arrays))
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, np.ma.MaskedArray):
        return value.data.nbytes + (0 if value.mask is np.ma.nomask else value.mask.nbytes)
    if hasattr(value, "memory_usage"):
        return int(np.sum(value.memory_usage(deep=True)))
    if isinstance(value, np.generic) or hasattr(value, "__array_ufunc__"):
        return int(value.nbytes)
    if hasattr(value, "dtype") and "Pandas" not in type(value).__name__:
        # A handle of a stored array is itself small.
        return sys.getsizeof(value)
    if isinstance(value, slice | type(None)):
        return 8
    array = np.asarray(value)
    return sys.getsizeof(value) if array.dtype.hasobject else array.nbytes


def compared(item: Any, *, trials: TrialFunctions = "known") -> dict[Key, tuple[Size, int]]:
    """Estimate and measure the value of every key that an object needs."""
    bundle = unpack(item)
    graph = bundle.graph()
    estimator = SizeEstimator(graph=graph, parts=bundle.parts, trials=trials)
    layer_of = {
        key: layer.name
        for layer in structure_of(graph, bundle.keys()).layers
        for key in layer.keys_of(np.arange(layer.start, layer.stop))
        if layer.grid is not None or not is_value(layer.layer[key])
    }
    estimates = {key: estimator.of(layer, key) for key, layer in layer_of.items()}
    values = get_sync(convert_legacy_graph(ensure_dict(graph)), list(layer_of))
    return {
        key: (estimates[key], max(real_nbytes(value), 1))
        for key, value in zip(layer_of, values, strict=True)
    }


def check(
    make: Callable[[], Any], listed: Listed | None, *, trials: TrialFunctions = "known"
) -> None:
    """Compare a program's sizes: all exact, or as far off as is listed."""
    bounds = listed or Listed(why="nothing is listed")
    off: dict[Key, tuple[Size, int]] = {}
    exact = True
    for key, (size, real) in compared(make(), trials=trials).items():
        factor = max(size.nbytes / real, real / size.nbytes)
        exact &= factor == 1 and size.guess is None
        bound = bounds.factor if size.guess is None else bounds.guessed
        if factor > bound or (size.guess is not None and bounds.guessed == 1):
            off[key] = size, real
    assert not off
    assert exact == (listed is None), "list it, or take it off the list"
