"""What one block of a symbolic layer takes, with names for lengths that change together.

The layer says which axes of its inputs go with which axis of its output, so what
is learnt of one block with named lengths holds for all of its blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dask.blockwise import Blockwise
from dask.typing import Key

from xr_locality.graph.sizes.blocks import Blocks, Length
from xr_locality.graph.sizes.descriptions import Description, Shaped, map_leaves

__all__ = ["BlockInputs"]


@dataclass(slots=True, kw_only=True)
class BlockInputs:
    """Collects what a block takes.

    Attributes
    ----------
    inputs : dict of key to Description
        Arrays have names for lengths: the indices of the layer that they go with, and
        the length itself.
    lengths : dict of name to int
        In items, for this block.
    meanings : dict of name to Length
        For any block of the layer, where that can be said.
    """

    layer: Blockwise
    index: tuple[int, ...]
    inputs: dict[Key, Description] = field(default_factory=dict)
    lengths: dict[Any, int] = field(default_factory=dict)
    meanings: dict[Any, Length] = field(default_factory=dict)

    def add(self, key: Key, known: Blocks | None, described: Description) -> None:
        """Add one of the block's inputs.

        Parameters
        ----------
        key : key
            The input's.
        known : Blocks or None
            All blocks of the input's layer, if they are described together.
        described : Description
            The input alone.
        """
        own = self._indices().get(key[0], ()) if isinstance(key, tuple) else ()
        if known is not None and own and isinstance(key, tuple) and known.holds(key[1:]):
            place = key[1:]
            self.inputs[key] = map_leaves(
                lambda part, real: self._named(part, real, own, place),
                known.pattern,
                known.at(place),
            )
        else:
            self.inputs[key] = map_leaves(self._alone, described)

    def moving(self) -> frozenset[Any]:
        """Name the lengths that are others in other blocks."""
        return frozenset(
            name
            for name, length in self.meanings.items()
            if any(values.min() < values.max() for _, values in length.terms)
        )

    def _indices(self) -> Mapping[Any, tuple[Any, ...]]:
        return {name: own for name, own in self.layer.indices if own is not None}

    def _named(self, part: Any, real: Any, own: tuple[Any, ...], place: tuple[Any, ...]) -> Any:
        """Name the lengths of an array by the layer's indices."""
        if not isinstance(part, Shaped):
            return part
        shape = []
        for length, number in zip(part.shape, real.shape, strict=True):
            name = tuple(own[axis] for axis, _ in length.terms), number
            meaning = self._meaning(length, own, place)
            if len(meaning.terms) >= len(self.meanings.get(name, meaning).terms):
                self.meanings[name] = meaning
            self.lengths[name] = number
            shape.append(name)
        return replace(part, shape=tuple(shape))

    def _alone(self, leaf: Any) -> Any:
        """Name the lengths of an array of which only this block is known."""
        if not isinstance(leaf, Shaped):
            return leaf
        names = tuple(("alone", number) for number in leaf.shape)
        self.lengths.update(dict(zip(names, leaf.shape, strict=True)))
        return replace(leaf, shape=names)

    def _meaning(self, length: Length, own: tuple[Any, ...], place: tuple[Any, ...]) -> Length:
        """Write an input's length with the axes of the layer that takes it."""
        axes = {index: axis for axis, index in enumerate(self.layer.output_indices)}
        constant, terms = length.constant, []
        for axis, values in length.terms:
            if own[axis] in axes and len(values) > 1:
                terms.append((axes[own[axis]], values))
            else:
                constant += int(values[place[axis]])
        return Length(constant=constant, terms=tuple(terms))
