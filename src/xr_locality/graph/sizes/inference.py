"""Describe what each key of a graph is, without running chunks.

For each layer the first that can say:

1. what the collection states that a user holds;
2. for functions known to be honest, what the layer states (chunks and dtype);
3. a trial of some of its tasks on small stand-ins. Where it agrees with what the
   layer states, that holds for all its blocks; where it does not (a reduction's
   partials carry the chunks of its input), what was learnt does;
4. task by task, each by a rule for its function or by a trial;
5. what takes its values apart, as the arrays of ``xarray.map_blocks`` do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from dask.blockwise import Blockwise
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer
from dask.typing import Key

from xr_locality.compat.dask_graph import GraphNode, Task, block_of, is_future
from xr_locality.config import TrialFunctions
from xr_locality.graph.layer_keys import key_name
from xr_locality.graph.sizes import calls, size_rules
from xr_locality.graph.sizes.block_trials import BlockTrial
from xr_locality.graph.sizes.blocks import Blocks
from xr_locality.graph.sizes.descriptions import Description, Shaped, Unknown, is_unknown, leaves
from xr_locality.graph.sizes.stated import fitted, stated
from xr_locality.graph.sizes.task_values import TaskValues
from xr_locality.graph.tasks import as_node, is_value, taken_from

__all__ = ["Describer"]

#: Tasks that may be looked at to check what one layer states. Layers that state nothing are
#: gone through task by task, and all of a reduction may lie behind one of its results.
_MOST_TRIED: Final = 1000

#: A value that was not looked at, since too many tasks lead to it.
_TOO_FAR: Final = Unknown(reason="too many tasks lead to it to look at each")


@dataclass(slots=True)
class Describer:
    """Describes the keys of a graph; remembers what it has found.

    Parameters
    ----------
    graph : HighLevelGraph
        Not optimised.
    results : mapping of str to Blocks
        What is known of some layers for certain.
    trials : {"known", "all", "never"}
        Whose functions may be tried on small arrays.
    """

    graph: HighLevelGraph
    results: Mapping[str, Blocks]
    trials: TrialFunctions
    _layers: dict[str, Blocks | None] = field(default_factory=dict)
    #: Layers that are not what they state: what takes them may not be either.
    _odd: set[str] = field(default_factory=set)
    _keys: dict[Key, Description] = field(default_factory=dict)
    _elsewhere: dict[Key, str] | None = None
    #: For each value that others take out of, their blocks.
    _parts: dict[Key, list[tuple[Blocks, tuple[Any, ...]]]] | None = None
    _tasks: TaskValues = field(init=False)

    def __post_init__(self) -> None:
        self._tasks = TaskValues(trials=self.trials)

    def layer(self, name: str) -> Blocks | None:
        """Describe a layer's blocks together; None where that cannot be."""
        stack = [name]
        while stack:
            each = stack[-1]
            if each in self._layers:
                stack.pop()
                continue
            layer = self.graph.layers[each]
            dependencies = [
                dependency
                for dependency in sorted(self.graph.dependencies.get(each, ()))
                if dependency in self.graph.layers
            ]
            missing = [name for name in dependencies if name not in self._layers]
            if missing:
                stack.extend(missing)
                continue
            blocks = self.results.get(each) or stated(layer)
            # Its own tasks may refer to it.
            self._layers[each] = None
            found = None if self._odd.intersection(dependencies) else _believed(layer, blocks)
            found = found or self._tried(each, layer, blocks)
            if each in self.results and (found is None or _is_at_most(found)):
                # The chunks of a collection that is computed are what it has.
                found = self.results[each]
            self._layers[each] = found
            if not _is_stated(found, blocks):
                self._odd.add(each)
            stack.pop()
        return self._layers[name]

    def key(self, layer: str, key: Key, *, most: int | None = None) -> Description:
        """Describe one key of a layer; unknown if that takes more than so many tasks."""
        stack, waiting = [(layer, key)], set[Key]()
        before = len(self._keys)
        while stack:
            if most is not None and len(self._keys) - before + len(waiting) > most:
                return _TOO_FAR
            name, each = stack[-1]
            if each in self._keys:
                waiting.discard(each)
                stack.pop()
                continue
            if (block := self._block(name, each)) is not None:
                self._keys[each] = block
                continue
            node = self._node(name, each)
            if node is None:
                self._keys[each] = Unknown(reason="its task cannot be looked at")
                continue
            missing = [key for key in node.dependencies if key not in self._keys]
            if waiting.intersection(missing) or each in missing:
                # As an alias of its own key.
                self._keys[each] = Unknown(reason="its task takes itself")
                continue
            if missing:
                waiting.add(each)
                stack.extend((self.home(key, name), key) for key in sorted(missing, key=repr))
                continue
            inputs = {key: self._keys[key] for key in node.dependencies}
            of_array = _is_of_array(self.graph.layers[name])
            found = self._tasks.describe(node, inputs, of_array=of_array)
            if is_unknown(found):
                found = self._taken_apart(each) or found
            self._keys[each] = found
        return self._keys[key]

    def home(self, key: Key, near: str) -> str:
        """Find the layer that holds a key, which may be named after another."""
        name = key_name(key)
        if isinstance(name, str) and name in self.graph.layers:
            return name
        layer = self.graph.layers[near]
        if isinstance(layer, MaterializedLayer) and key in layer.mapping:
            return near
        return self._named_otherwise().get(key, near)

    def __contains__(self, key: Any) -> bool:
        """Whether something in a legacy task names a task of the graph."""
        name = key_name(key)
        if isinstance(name, str) and name in self.graph.layers:
            layer = self.graph.layers[name]
            return not isinstance(layer, MaterializedLayer) or key in layer.mapping
        return key in self._named_otherwise()

    def _named_otherwise(self) -> dict[Key, str]:
        """Map the keys that are not named after their layers to these."""
        if self._elsewhere is None:
            self._elsewhere = {
                key: name
                for name, layer in self.graph.layers.items()
                if isinstance(layer, MaterializedLayer)
                for key in layer.mapping
                if key_name(key) != name
            }
        return self._elsewhere

    def _block(self, name: str, key: Key) -> Description | None:
        """Describe a key as a block of its layer, or as a piece that overlaps."""
        layer = self.graph.layers[name]
        value = layer.mapping.get(key, ()) if isinstance(layer, MaterializedLayer) else ()
        if is_future(value):
            return self._future(name, key)
        if is_value(value):
            # Whatever the layer states: its value may count, as labels do.
            return None
        known = self.layer(name)
        if known is None or not isinstance(key, tuple):
            return None
        if key[0] in (name, getattr(layer, "output", name)) and known.holds(key[1:]):
            return known.at(key[1:])
        if (
            hasattr(layer, "axes")
            and hasattr(layer, "chunks")
            and isinstance(known.pattern, Shaped)
        ):
            return size_rules.piece_of_overlap(layer, key[1:], known.pattern.dtype)
        return None

    def _future(self, name: str, key: Key) -> Description:
        """Describe what a cluster holds, by what its layer states: nothing is asked."""
        sizes = (self.graph.layers[name].collection_annotations or {}).get("nbytes", {})
        if key in sizes:
            return Shaped(shape=(sizes[key],), dtype=np.dtype("u1"))
        blocks = self.results.get(name) or stated(self.graph.layers[name])
        if isinstance(blocks, Blocks) and isinstance(key, tuple) and blocks.holds(key[1:]):
            return blocks.at(key[1:])
        return Unknown(reason="a cluster holds it, and nothing here states what it is")

    def _node(self, name: str, key: Key) -> GraphNode | None:
        layer = self.graph.layers[name]
        if isinstance(layer, Blockwise):
            if not isinstance(key, tuple) or len(key) - 1 != len(layer.output_indices):
                return None
            return block_of(layer, tuple(map(int, key[1:])))  # type: ignore[arg-type]
        if isinstance(layer, MaterializedLayer) and key in layer.mapping:
            return as_node(key, layer.mapping[key], self)
        return None

    def _tried(self, name: str, layer: Layer, blocks: Blocks | Unknown) -> Blocks | None:
        """Try some of a layer's tasks, and compare with what it states."""
        if isinstance(layer, Blockwise):
            return BlockTrial(
                layer=layer,
                stated=blocks,
                of_array=_is_of_array(layer),
                tasks=self._tasks,
                describe=lambda key: self.key(self.home(key, name), key),
                blocks_of=lambda key: self.layer(self.home(key, name)),
                taken_apart=self._taken_apart,
            ).run()
        if not isinstance(layer, MaterializedLayer) or not isinstance(blocks, Blocks):
            return None
        indices = [
            blocks.extreme(np.argmax),
            (0,) * len(blocks.numblocks),
            tuple(count - 1 for count in blocks.numblocks),
        ]
        # What the tasks do not say, the layer may: that is not remembered.
        remembered, self._keys = self._keys, {}
        samples: list[tuple[tuple[int, ...], Description]] = []
        for index in dict.fromkeys(indices):
            if (name, *index) in layer.mapping:
                samples.append((index, self.key(name, (name, *index), most=_MOST_TRIED)))
                if samples[-1][1] is _TOO_FAR:
                    break
        tried, self._keys = self._keys, remembered
        self._keys.update((key, each) for key, each in tried.items() if not is_unknown(each))
        known = [(index, each) for index, each in samples if not is_unknown(each)]
        if known:
            return fitted(blocks, known)
        if name not in self.results and any(each is _TOO_FAR for _, each in samples):
            return replace(blocks, guess=f"not checked: {_TOO_FAR.reason}")
        return blocks

    def _taken_apart(self, key: Key) -> Description | None:
        """Describe a value by the arrays that are taken out of it, or that it is."""
        if self._parts is None:
            self._parts = {}
            for name, layer in self.graph.layers.items():
                blocks = stated(layer)
                if not isinstance(layer, MaterializedLayer) or not isinstance(blocks, Blocks):
                    continue
                for part, value in layer.mapping.items():
                    whole = taken_from(value)
                    if whole is None or not isinstance(part, tuple) or part[0] != name:
                        continue
                    if blocks.holds(part[1:]):
                        self._parts.setdefault(whole, []).append((blocks, part[1:]))
        described = [blocks.at(index) for blocks, index in self._parts.get(key, ())]
        return described[0] if len(described) == 1 else described or None


def _is_stated(found: Blocks | None, blocks: Blocks | Unknown) -> bool:
    """Whether a layer is what it states."""
    if found is None or not isinstance(blocks, Blocks) or not isinstance(found.pattern, Shaped):
        return False
    return (found.pattern.shape, found.pattern.dtype) == (
        blocks.pattern.shape,
        blocks.pattern.dtype,
    )


def _believed(layer: Layer, blocks: Blocks | Unknown) -> Blocks | None:
    """Believe what a layer states that cannot be tried, or need not be."""
    if not isinstance(blocks, Blocks):
        return None
    if isinstance(layer, Blockwise):
        task: Any = layer.task
    elif isinstance(layer, MaterializedLayer):
        value = next(iter(layer.mapping.values()), None)
        if is_value(value) or is_future(value):
            return blocks
        task = as_node((), value, ())
    else:
        return blocks
    if not isinstance(task, Task):
        return None
    honest = all(size_rules.is_as_stated(function) for function, _ in calls.steps_of(task))
    return blocks if honest else None


def _is_of_array(layer: Layer) -> bool:
    return "chunks" in (layer.collection_annotations or {})


def _is_at_most(blocks: Blocks) -> bool:
    """Whether blocks may be smaller than described."""
    return any(isinstance(leaf, Shaped) and leaf.at_most for leaf in leaves(blocks.pattern))
