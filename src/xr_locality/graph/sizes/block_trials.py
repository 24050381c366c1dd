"""Learn what all blocks of a symbolic layer are, by trying one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from dask.blockwise import Blockwise
from dask.typing import Key

from xr_locality.compat.dask_graph import GraphNode, Task, block_of
from xr_locality.graph.sizes import size_rules
from xr_locality.graph.sizes.block_inputs import BlockInputs
from xr_locality.graph.sizes.blocks import Blocks, combine
from xr_locality.graph.sizes.calls import USER_FUNCTION, steps_of
from xr_locality.graph.sizes.descriptions import (
    Description,
    Known,
    Shaped,
    Unknown,
    is_unknown,
    leaves,
    map_leaves,
    nbytes_of,
)
from xr_locality.graph.sizes.stated import fitted, same_bytes
from xr_locality.graph.sizes.task_values import TaskValues, forget, numbered, tame
from xr_locality.graph.sizes.trial import NotLearntError, SlowError

__all__ = ["BlockTrial"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Learnt:
    """What was learnt of one block, and why that is a guess, if it is."""

    pattern: Description
    guess: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTrial:
    """A trial of one block of a layer, and what it needs from the graph.

    Attributes
    ----------
    layer : Blockwise
        The layer.
    stated : Blocks or Unknown
        What it states of its blocks.
    of_array : bool
        Whether it is of a dask array.
    tasks : TaskValues
        Tries tasks.
    describe : callable
        Describes a key.
    blocks_of : callable
        Describes the layer that holds a key, if it can be described together.
    taken_apart : callable
        Describes what other layers take out of a key's value.
    """

    layer: Blockwise
    stated: Blocks | Unknown
    of_array: bool
    tasks: TaskValues
    describe: Callable[[Key], Description]
    blocks_of: Callable[[Key], Blocks | None]
    taken_apart: Callable[[Key], Description | None]

    def run(self) -> Blocks | None:
        """Describe all blocks; None where each has to be described for itself.

        Labels at hand count as arrays like others first, and then as they are.
        """
        first, last = self._samples()
        task = block_of(self.layer, first)
        if not isinstance(task, Task):
            return None
        if size_rules.has_rule(task):
            ruled = size_rules.rule_for(task, self._described_inputs(task))
            if ruled is None or not isinstance(self.stated, Blocks):
                return None
            return fitted(self.stated, [(first, ruled)])
        for values in (False, True):
            taken = self._inputs(task, first, values=values)
            found = self._learn(task, taken, values=values)
            if isinstance(found, _Learnt):
                found = self._for_all(taken, found, other=last)
            if found is not None:
                return found
        return None

    def _samples(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Choose the block to try, and another to compare with."""
        if self.layer.output_blocks:
            return min(self.layer.output_blocks), max(self.layer.output_blocks)
        if isinstance(self.stated, Blocks):
            # A length of 1 would not tell whether an axis is reduced.
            return self.stated.extreme(np.argmax), self.stated.extreme(np.argmin)
        numblocks = [self.layer.dims[index] for index in self.layer.output_indices]
        return (0,) * len(numblocks), tuple(count - 1 for count in numblocks)

    def _described_inputs(self, task: GraphNode) -> dict[Key, Description]:
        return {key: self.describe(key) for key in task.dependencies}

    def _inputs(self, task: Task, index: tuple[int, ...], *, values: bool) -> BlockInputs:
        """Describe what the block takes, with names for lengths."""
        taken = BlockInputs(layer=self.layer, index=index)
        for key in sorted(task.dependencies, key=repr):
            described = map_leaves(tame if values else forget, self.describe(key))
            known = None if isinstance(described, Known) else self.blocks_of(key)
            taken.add(key, known, described)
        return taken

    def _learn(self, task: Task, taken: BlockInputs, *, values: bool) -> Blocks | _Learnt | None:
        """Learn what the block is; all blocks, where that is what the layer states."""
        learnt: Description | None = None
        guess = self.stated.reason or None if isinstance(self.stated, Unknown) else None
        for thorough in (False, True):
            try:
                learnt = self.tasks.learn(
                    task,
                    taken.inputs,
                    taken.lengths,
                    of_array=self.of_array,
                    moving=taken.moving(),
                    thorough=thorough,
                )
            except SlowError as error:
                guess = str(error)
                if learnt is None:
                    return self._as_stated(guess)
            except NotLearntError as error:
                if not values or (not thorough and self._holds_more(taken.index)):
                    return None
                # Only a trial that contradicts the layer's statement makes it a guess, or a
                # reduction by a function of the user's: its partials state their inputs' chunks.
                untried = str(error) == USER_FUNCTION and _is_partial(task)
                return self._as_stated(str(error) if thorough or untried else None)
            if not isinstance(self.stated, Blocks):
                continue
            sample = numbered(learnt, taken.lengths)
            if (found := fitted(self.stated, [(taken.index, sample)])) is not None:
                return found
        return _Learnt(pattern=learnt, guess=guess)

    def _as_stated(self, guess: str | None) -> Blocks | None:
        if not isinstance(self.stated, Blocks):
            return None
        return self.stated if guess is None else replace(self.stated, guess=guess)

    def _holds_more(self, index: tuple[int, ...]) -> bool:
        """Whether more is taken out of a block than the layer states that there is."""
        if not isinstance(self.stated, Blocks):
            return False
        taken = self.taken_apart((self.layer.output, *index))
        whole, part = nbytes_of(self.stated.at(index)), nbytes_of(taken or [])
        return isinstance(whole, int) and isinstance(part, int) and part > whole

    def _for_all(
        self, taken: BlockInputs, learnt: _Learnt, *, other: tuple[int, ...]
    ) -> Blocks | None:
        """Describe all blocks by what was learnt of one, if it is right for another."""
        found = list(leaves(learnt.pattern))
        needed = {
            name
            for leaf in found
            if isinstance(leaf, Shaped)
            for length in leaf.shape
            for name, _ in length.slopes
        }
        # Labels that come from labels are others in other blocks.
        labels = any(map(_is_label, found)) and any(
            map(_is_label, leaves(list(taken.inputs.values())))
        )
        if labels or is_unknown(learnt.pattern) or not needed <= taken.meanings.keys():
            return None

        def combined(leaf: Any) -> Any:
            if not isinstance(leaf, Shaped):
                return leaf
            return replace(leaf, shape=tuple(combine(e, taken.meanings) for e in leaf.shape))

        blocks = Blocks(
            numblocks=tuple(self.layer.dims[index] for index in self.layer.output_indices),
            pattern=map_leaves(combined, learnt.pattern),
            guess=learnt.guess,
        )
        node = block_of(self.layer, other)
        real = self.tasks.describe(node, self._described_inputs(node), of_array=self.of_array)
        return blocks if same_bytes(real, blocks.at(other)) else None


def _is_partial(task: Task) -> bool:
    """Whether a task makes a partial of a reduction, as dask calls it."""
    return any("keepdims" in keywords for _, keywords in steps_of(task))


def _is_label(leaf: Any) -> bool:
    return isinstance(leaf, Known) and isinstance(leaf.value, np.ndarray) and leaf.value.ndim > 0
