"""Bytes of what a plan brings to the client, without listing it unless somebody asks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from xr_locality.graph.collections import Bundle
from xr_locality.graph.layer_keys import key_name
from xr_locality.graph.sizes.estimator import SizeEstimator, Sizes

__all__ = ["Results"]


@dataclass(eq=False)
class Results:
    """Estimates the bytes of a bundle's results.

    Parameters
    ----------
    bundle : Bundle
        What is computed.
    graph : HighLevelGraph
        Its merged graph.
    estimator : SizeEstimator
        Sizes of values.
    """

    bundle: Bundle
    graph: HighLevelGraph
    estimator: SizeEstimator

    @property
    def total(self) -> int:
        """Bytes of all results; of arrays, layers are asked, not each key."""
        return self._total[0]

    @property
    def guess(self) -> str | None:
        """Why the bytes of some results are only a guess; None where none is."""
        return self._total[1]

    @cached_property
    def _total(self) -> tuple[int, str | None]:
        seen: set[str] = set()
        total, guess = 0, None
        for part in self.bundle.parts:
            name = getattr(part.collection, "name", None)
            if isinstance(name, str) and name in seen:
                continue
            numblocks: Any = getattr(part.collection, "numblocks", None)
            # A Delayed makes another Delayed of any attribute that it is asked for.
            known = isinstance(numblocks, tuple) and name in self.graph.layers
            together = self.estimator.total(str(name)) if known else None
            # Empty blocks count as one byte each, as wherever they are listed.
            if together is not None and together.nbytes >= math.prod(numblocks):
                total += together.nbytes
                guess = guess or together.guess
            else:
                for sizes in self._sizes_of(part.flat_keys()):
                    total += int(sizes.nbytes.sum())
                    guess = guess or sizes.why
            if isinstance(name, str):
                seen.add(name)
        return total, guess

    def nbytes_of(self, keys: Sequence[Key]) -> list[int]:
        """Estimate the bytes of some results."""
        return [size for sizes in self._sizes_of(keys) for size in sizes.nbytes.tolist()]

    def _sizes_of(self, keys: Sequence[Key]) -> Iterator[Sizes]:
        for name, some in self._by_layer(keys):
            yield self.estimator.of_keys(name, some)

    def _by_layer(self, keys: Sequence[Key]) -> Iterator[tuple[str, list[Key]]]:
        """Group neighbours of one layer."""
        name, some = "", list[Key]()
        for key in keys:
            home = self._layer_of(key)
            if home != name and some:
                yield name, some
                some = []
            name = home
            some.append(key)
        if some:
            yield name, some

    def _layer_of(self, key: Key) -> str:
        name = key_name(key)
        if isinstance(name, str) and name in self.graph.layers:
            return name
        return next(each for each, layer in self.graph.layers.items() if key in layer)
