"""Run a function on small stand-ins of its inputs, to learn the sizes of what it returns.

Each length of the inputs is a variable: runs at small lengths, then with one of
them longer, say how each length of the result depends on them:
``length = constant + sum of slope * variable``. A last run with all of them
longer has to agree, or the function is said not to be learnt.
"""

from __future__ import annotations

import math
import random
import threading
import time
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Final

import numpy as np

from xr_locality.graph.sizes.descriptions import (
    Description,
    Known,
    Shaped,
    build,
    describe,
    hold,
    leaves,
    map_leaves,
)

__all__ = ["Affine", "NotLearntError", "SlowError", "TrialRunner"]

#: Lengths as short as this are not varied: they are ones, or a stencil's width.
_SHORT: Final = 3
#: Items that the inputs of one run may have together.
_MOST_ITEMS: Final = 100_000
#: Seconds that one bounded run may take; after that, the function is not tried again.
_MOST_SECONDS: Final = 0.5
#: Seed of arrays of special values.
_SPECIAL: Final = -1
#: Bytes of a result that is kept because it does not depend on the inputs' values.
_MOST_KNOWN_NBYTES: Final = 65_536


class NotLearntError(Exception):
    """A function cannot be run on stand-ins, or its result is not regular."""


class SlowError(NotLearntError):
    """A function takes long even for small arrays, and is not tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """A length that depends on others: a constant, and a slope for each of them."""

    constant: int
    slopes: tuple[tuple[Hashable, int], ...] = ()

    def at(self, lengths: Mapping[Hashable, int]) -> int:
        """Get the length for the lengths that it depends on."""
        return self.constant + sum(slope * lengths[name] for name, slope in self.slopes)


@dataclass(slots=True, kw_only=True)
class TrialRunner:
    """Runs functions on small arrays, within bounds.

    Parameters
    ----------
    seconds : float
        How long all runs together may take.
    bounded : bool
        Whether each run gets a thread of its own, which is left alone after half a second:
        for functions that may never return.
    """

    seconds: float
    bounded: bool
    _spent: float = field(default=0.0, init=False)

    def learn(
        self,
        function: Callable[[Mapping[Any, Any]], Any],
        inputs: Mapping[Any, Description],
        lengths: Mapping[Hashable, int],
        *,
        fixed: frozenset[int],
        moving: frozenset[Hashable] = frozenset(),
        thorough: bool = False,
    ) -> Description:
        """Learn the structure and the lengths of what a function returns.

        Parameters
        ----------
        function : callable
            Takes a mapping of the inputs' values.
        inputs : mapping to Description
            Arrays with names of lengths for their shapes, and values at hand.
        lengths : mapping of name to int
            The real lengths, in items.
        fixed : frozenset of int
            Lengths that are kept as they are, as those of arrays at hand.
        moving : frozenset of names
            Lengths that are varied even if they are short: in other blocks they differ.
        thorough : bool
            Whether to try each length as long as it is, or as it may be, too: a function
            may cut all that is further than some place.

        Returns
        -------
        Description
            With an :class:`Affine` for each length.

        Raises
        ------
        NotLearntError
            With the reason.
        """
        varied = [
            name
            for name, length in sorted(lengths.items(), key=lambda item: (item[1], repr(item[0])))
            if (length > _SHORT or name in moving) and length not in fixed
        ]
        try:
            return self._vary(function, inputs, dict(lengths), varied, thorough=thorough)
        except SlowError:
            raise
        except NotLearntError:
            if not varied:
                raise
            return self.run(function, inputs, lengths)

    def run(
        self,
        function: Callable[[Mapping[Any, Any]], Any],
        inputs: Mapping[Any, Description],
        lengths: Mapping[Hashable, int],
    ) -> Description:
        """Run a function once at the real lengths, where these are small.

        Raises
        ------
        NotLearntError
            With the reason.
        """
        return self._vary(function, inputs, dict(lengths), [], thorough=False)

    def _vary(
        self,
        function: Callable[[Mapping[Any, Any]], Any],
        inputs: Mapping[Any, Description],
        lengths: dict[Hashable, int],
        varied: list[Hashable],
        *,
        thorough: bool,
    ) -> Description:
        base = {**lengths, **{name: 5 + 2 * place for place, name in enumerate(varied)}}
        trials = [base, *({**base, name: base[name] + 1} for name in varied)]
        trials.append({**base, **{name: base[name] + 3 for name in varied}})
        if thorough:
            trials += [_stretched(inputs, base, name, lengths[name]) for name in varied]
        results = self._try_all(function, inputs, trials, seeds=range(len(trials)))
        described = [describe(result) for result in results]
        uncertain = {
            name
            for leaf in leaves(list(inputs.values()))
            if isinstance(leaf, Shaped) and leaf.at_most
            for name in leaf.shape
        }
        try:
            learnt = map_leaves(lambda *each: _affine(varied, trials, each), *described)
            learnt = map_leaves(_keep_constant, learnt, *map(hold, results))
            other = self._with_other_values(function, inputs, base)
            sure = not uncertain or (bool(varied) and not uncertain.isdisjoint(varied))
            return map_leaves(
                lambda leaf, first: _bounded(leaf, first, other, uncertain, sure=sure),
                learnt,
                _numbered(described[0]),
            )
        except ValueError as error:
            raise NotLearntError(str(error)) from error

    def _with_other_values(
        self,
        function: Callable[[Mapping[Any, Any]], Any],
        inputs: Mapping[Any, Description],
        lengths: Mapping[Hashable, int],
    ) -> list[Any] | None:
        """Run a function on special values; None if they make no difference to its lengths.

        Where masks are False here and there, and labels are all the same, fewer
        items are chosen and fewer groups found.
        """
        try:
            (result,) = self._try_all(function, inputs, [lengths], seeds=[_SPECIAL])
            return list(leaves(describe(result)))
        except NotLearntError:
            return None

    def _try_all(
        self,
        function: Callable[[Mapping[Any, Any]], Any],
        inputs: Mapping[Any, Description],
        trials: Sequence[Mapping[Hashable, int]],
        *,
        seeds: Iterable[int],
    ) -> list[Any]:
        """Run a function at some lengths, one after another: threads take longer than it does."""
        if self._spent > self.seconds:
            raise SlowError("trying functions on small arrays took too long")
        if any(_items(inputs, lengths) > _MOST_ITEMS for lengths in trials):
            raise NotLearntError("its inputs cannot be made small")

        def attempt() -> list[Any]:
            # Of the thread that it is run in.
            with np.errstate(all="ignore"):
                return [
                    function(_made(inputs, lengths, seed))
                    for lengths, seed in zip(trials, seeds, strict=True)
                ]

        start = time.monotonic()
        try:
            with _undisturbed():
                results: list[Any] = (
                    _within(_MOST_SECONDS, attempt) if self.bounded else _at_once(attempt)
                )
        finally:
            self._spent += time.monotonic() - start
        return results


def _made(
    inputs: Mapping[Any, Description], lengths: Mapping[Hashable, int], seed: int
) -> dict[Any, Any]:
    return {
        key: build(map_leaves(lambda leaf: _stand_in(leaf, lengths, seed), each))
        for key, each in inputs.items()
    }


def _at_once(attempt: Callable[[], Any]) -> Any:
    """Run a function of a library: it returns or raises, and soon."""
    try:
        return attempt()
    except Exception as error:
        raise _raised(error) from error


def _within(seconds: float, attempt: Callable[[], Any]) -> Any:
    """Run a function of unknown origin: it may raise anything, or never return."""
    results: list[Any] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(attempt())
        except Exception as error:  # noqa: BLE001  # Raised in the calling thread, below.
            errors.append(error)

    thread = threading.Thread(target=run, name="xr-locality-trial", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise _raised(errors[0]) from errors[0]
    if not results:
        raise SlowError("its function takes long even for small arrays")
    return results[0]


def _raised(error: Exception) -> NotLearntError:
    return NotLearntError(f"on small arrays it raises {type(error).__name__}")


def _items(inputs: Mapping[Any, Description], lengths: Mapping[Hashable, int]) -> float:
    """Count the items of all arrays together."""
    return sum(
        math.prod(lengths[name] for name in leaf.shape)
        for leaf in leaves(list(inputs.values()))
        if isinstance(leaf, Shaped)
    )


def _stretched(
    inputs: Mapping[Any, Description], base: dict[Hashable, int], name: Hashable, length: int
) -> dict[Hashable, int]:
    """Make one length as long as it is, or as the bound on items allows."""
    trial = {**base, name: max(length, base[name])}
    while trial[name] > base[name] and _items(inputs, trial) > _MOST_ITEMS:
        trial[name] = max(trial[name] // 2, base[name])
    return trial


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Silence warnings, and leave the global states of random numbers as they are."""
    states = random.getstate(), np.random.get_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def _stand_in(leaf: Any, lengths: Mapping[Hashable, int], seed: int) -> Any:
    """Make an array without values that are special, so that functions take it."""
    if isinstance(leaf, Known):
        return leaf.value
    shape = tuple(lengths[name] for name in leaf.shape)
    array = _filled(shape, leaf.dtype, seed)
    return np.ma.MaskedArray(array, mask=np.zeros(shape, bool)) if leaf.masked else array


def _filled(shape: tuple[int, ...], dtype: np.dtype[Any], seed: int) -> Any:
    size = int(np.prod(shape))
    match dtype.kind:
        case "b":
            return (np.arange(size) % 2 == 0 if seed == _SPECIAL else np.ones(size, bool)).reshape(
                shape
            )
        case "i" | "u" if seed == _SPECIAL:
            return np.zeros(shape, dtype)
        case "i" | "u":
            # Such that they may be labels, or places in an axis, that change with the seed.
            return np.roll(np.arange(size) % 100, seed).astype(dtype).reshape(shape)
        case "f" | "c":
            # They increase, as coordinates do.
            values = ((np.arange(size) + 0.5 + 0.1 * seed) / max(size, 1)).reshape(shape)
            if len(shape) == 2 and shape[0] == shape[1]:
                # Square matrices can be decomposed and inverted.
                values = values + 2 * size * np.eye(shape[0])
            return values.astype(dtype)
        case "M" | "m":
            return (
                (np.arange(size) + seed).astype("i8").view(dtype.newbyteorder("=")).reshape(shape)
            )
        case _:
            return np.zeros(shape, dtype)


def _affine(
    varied: list[Hashable], trials: list[dict[Hashable, int]], results: tuple[Any, ...]
) -> Any:
    """Find how an array's lengths depend on those that were varied."""
    first = results[0]
    if not isinstance(first, Shaped):
        if any(type(each) is not type(first) for each in results):
            raise ValueError("what it returns differs from run to run")
        return first
    if any(
        not isinstance(each, Shaped)
        or (len(each.shape), each.dtype, each.masked)
        != (len(first.shape), first.dtype, first.masked)
        for each in results
    ):
        raise ValueError("what it returns differs from run to run")
    shape = []
    for axis, length in enumerate(first.shape):
        slopes = {
            name: each.shape[axis] - length
            for name, each in zip(varied, results[1 : 1 + len(varied)], strict=True)
        }
        found = Affine(
            constant=length - sum(slope * trials[0][name] for name, slope in slopes.items()),
            slopes=tuple((name, slope) for name, slope in slopes.items() if slope),
        )
        if any(
            found.at(trial) != each.shape[axis] for trial, each in zip(trials, results, strict=True)
        ):
            raise ValueError("its lengths do not grow evenly")
        shape.append(found)
    return Shaped(shape=tuple(shape), dtype=first.dtype, masked=first.masked)


def _numbered(description: Description) -> Description:
    """Pair the leaves of a description with their places among the leaves."""
    numbers = count()
    return map_leaves(lambda leaf: Known(value=(next(numbers), leaf)), description)


def _bounded(
    leaf: Any, first: Known, other: list[Any] | None, uncertain: set[Hashable], *, sure: bool
) -> Any:
    """Mark an array whose lengths depend on values, or on lengths that do.

    Where uncertain lengths were not varied, it is not sure which depend on them.
    """
    if not isinstance(leaf, Shaped):
        return leaf
    number, usual = first.value
    special = other[number] if other is not None and number < len(other) else usual
    moved = isinstance(special, Shaped) and special.shape != usual.shape
    if (not sure and leaf.shape) or moved:
        return replace(leaf, at_most=True)
    if any(name in uncertain for length in leaf.shape for name, _ in length.slopes):
        return replace(leaf, at_most=True)
    return leaf


def _keep_constant(learnt: Any, *values: Known) -> Any:
    """Keep a value that all runs agree on: it does not depend on the arrays' values."""
    first = values[0].value
    if not isinstance(learnt, Shaped) or not isinstance(first, np.ndarray):
        return learnt
    if first.nbytes > _MOST_KNOWN_NBYTES or learnt.masked or first.dtype.kind not in "iuMm":
        return learnt
    if all(np.array_equal(first, each.value) for each in values[1:]):
        return Known(value=first)
    return learnt
