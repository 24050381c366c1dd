"""Describe what a task returns, of what it takes: by a rule, a trial, or call by call."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from dask.typing import Key

from xr_locality.compat.dask_graph import DataNode, GraphNode, Task, is_barrier
from xr_locality.config import TrialFunctions
from xr_locality.graph.sizes import calls, size_rules
from xr_locality.graph.sizes.descriptions import (
    Description,
    Known,
    Shaped,
    Unknown,
    describe,
    is_unknown,
    leaves,
    map_leaves,
)
from xr_locality.graph.sizes.known_functions import user_object
from xr_locality.graph.sizes.trial import NotLearntError, SlowError, TrialRunner
from xr_locality.graph.sizes.unfold import unfold
from xr_locality.graph.tasks import target_of

__all__ = ["TaskValues", "forget", "numbered", "tame"]

#: How long all trials for one graph may take, in seconds.
_SECONDS: Final = 10.0

#: Items of the largest labels (numbers, dates) whose values count, not only their shape.
_MOST_LABELS: Final = 100_000


class _LearntCache:
    """What was learnt in this process by kind of task, the least recently used forgotten."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._known: OrderedDict[Hashable, Description] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, kind: Hashable) -> Description | None:
        with self._lock:
            if (found := self._known.get(kind)) is not None:
                self._known.move_to_end(kind)
            return found

    def put(self, kind: Hashable, learnt: Description) -> None:
        with self._lock:
            self._known[kind] = learnt
            if len(self._known) > self._most:
                self._known.popitem(last=False)


#: Trials of functions of libraries hold for all plans of the process.
_LEARNT: Final = _LearntCache(most=2048)


@dataclass(slots=True)
class TaskValues:
    """Describes what tasks return; remembers what it has learnt.

    Parameters
    ----------
    trials : {"known", "all", "never"}
        Whose functions may be tried on small arrays.
    """

    trials: TrialFunctions
    _learnt: dict[Any, Description] = field(default_factory=dict)
    _alive: list[Any] = field(default_factory=list)
    _runner: TrialRunner = field(init=False)

    def __post_init__(self) -> None:
        self._runner = TrialRunner(seconds=_SECONDS, bounded=self.trials == "all")

    def describe(
        self, node: GraphNode, inputs: Mapping[Key, Description], *, of_array: bool
    ) -> Description:
        """Describe what a task returns.

        Parameters
        ----------
        node : GraphNode
            The task, a value or an alias.
        inputs : mapping of key to Description
            What it takes.
        of_array : bool
            Whether its layer is of a dask array; see :func:`calls.refusal`.
        """
        if isinstance(node, DataNode):
            objects = isinstance(node.value, np.ndarray) and node.value.dtype.hasobject
            return describe(node.value) if objects else Known(value=node.value)
        if (target := target_of(node)) is not None:
            return inputs[target]
        if is_barrier(node):
            return Known(value=0)
        assert isinstance(node, Task)
        if (found := size_rules.rule_for(node, inputs)) is not None:
            return found
        if self.trials == "known" and user_object(calls.own_literals(node)) is not None:
            # Whatever it takes: the calls inside of it need not be looked at.
            return Unknown(reason=calls.USER_FUNCTION)
        found = self._of_task(node, inputs, of_array=of_array)
        if is_unknown(found):
            found = self._call_by_call(node, inputs, of_array=of_array) or found
        return found

    def learn(
        self,
        task: Task,
        inputs: Mapping[Key, Description],
        lengths: Mapping[Any, int],
        *,
        of_array: bool,
        moving: frozenset[Any] = frozenset(),
        thorough: bool = True,
    ) -> Description:
        """Try a task on small arrays, if that may be done.

        Raises
        ------
        NotLearntError
            With the reason.

        See Also
        --------
        TrialRunner.learn
        """
        items = list(calls.literals(task))
        reason = calls.refusal(items, inputs, of_array=of_array, trials=self.trials)
        if reason is not None:
            raise NotLearntError(reason)
        known = [leaf.value for leaf in leaves(list(inputs.values())) if isinstance(leaf, Known)]
        fixed = calls.literal_lengths(items + known)
        kind = (
            calls.signature(task, inputs),
            frozenset(lengths.items()),
            moving,
            thorough,
        )
        lasting = calls.holds_for_process(kind[0])
        if lasting and (before := _LEARNT.get(kind)) is not None:
            if isinstance(before, Unknown):
                raise NotLearntError(before.reason)
            return before
        try:
            learnt = self._runner.learn(
                task, inputs, lengths, fixed=fixed, moving=moving, thorough=thorough
            )
        except SlowError:
            raise
        except NotLearntError as error:
            if lasting:
                _LEARNT.put(kind, Unknown(reason=str(error)))
            raise
        if lasting:
            _LEARNT.put(kind, learnt)
        return learnt

    def _call_by_call(
        self, task: Task, inputs: Mapping[Key, Description], *, of_array: bool
    ) -> Description | None:
        """Describe what the calls inside of a task return, one after another."""
        inside = unfold(task)
        last = inside[next(reversed(inside))]
        if len(inside) == 1 and isinstance(last, Task) and last.func is task.func:
            # There is nothing inside, and the task itself was tried.
            return None
        known = dict(inputs)
        for key, call in inside.items():
            taken = {each: known[each] for each in call.dependencies}
            known[key] = self.describe(call, taken, of_array=of_array)
        return known[next(reversed(inside))]

    def _of_task(
        self, task: Task, inputs: Mapping[Key, Description], *, of_array: bool
    ) -> Description:
        """Try a task, or remember what one like it returned."""
        inputs = {key: map_leaves(tame, each) for key, each in inputs.items()}
        same = calls.signature(task, inputs), of_array
        if same not in self._learnt:
            # Signatures name objects by their identity: they must not be made anew.
            self._alive.append((task, inputs))
            lengths = {
                length: length
                for leaf in leaves(list(inputs.values()))
                if isinstance(leaf, Shaped)
                for length in leaf.shape
            }
            try:
                learnt = self.learn(task, inputs, lengths, of_array=of_array)
                self._learnt[same] = numbered(learnt, lengths)
            except NotLearntError as error:
                self._learnt[same] = Unknown(reason=str(error))
        return self._learnt[same]


def numbered(learnt: Description, lengths: Mapping[Any, int]) -> Description:
    """Put numbers for the lengths of what was learnt."""

    def change(leaf: Any) -> Any:
        if not isinstance(leaf, Shaped):
            return leaf
        return replace(leaf, shape=tuple(max(each.at(lengths), 0) for each in leaf.shape))

    return map_leaves(change, learnt)


def forget(leaf: Any) -> Any:
    """Forget the values of an array at hand."""
    return describe(leaf.value) if _is_array(leaf) else leaf


def tame(leaf: Any) -> Any:
    """Forget the values of an array at hand that cannot be labels, or is large."""
    if not _is_array(leaf):
        return leaf
    kept = leaf.value.dtype.kind in "iubMmUS" and leaf.value.size <= _MOST_LABELS
    return leaf if kept else forget(leaf)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, Known) and isinstance(leaf.value, np.ndarray) and leaf.value.ndim > 0
