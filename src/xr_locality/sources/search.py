"""Look through the objects of a dask graph for everything that reads from storage."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, compress, islice, repeat
from operator import attrgetter, is_
from typing import Final

from xr_locality.errors import LocalityError, MissingDependencyError
from xr_locality.regions.store import Store
from xr_locality.sources.finder import Found, SourceFinder
from xr_locality.sources.finder_failure import warn_of_failure
from xr_locality.sources.finder_registry import finders
from xr_locality.sources.named_in_tasks import find_named, may_name
from xr_locality.sources.storage.futures import CLUSTER
from xr_locality.sources.storage.process import PROCESS
from xr_locality.sources.traversal import Task, Traversal, traversal_of

__all__ = [
    "Contents",
    "find_clusters",
    "find_contents",
    "find_readers",
    "find_sources",
    "find_sources_of_each",
    "local_test",
]

logger = logging.getLogger(__name__)

# Far beyond any graph seen; they keep a strange object from being followed for ever.
_DEEPEST: Final = 100
_MOST_STRANGERS: Final = 100_000
# Objects whose types are counted together: so many that a step costs little for
# each, so few that they stay in the processor's cache.
_BATCH: Final = 1024
# Fewer are looked at one by one.
_FEW: Final = 32
# A task in a list in a dict: deeper nests are looked at one by one.
_LEVELS: Final = 10

_NAME: Final = attrgetter("__name__")

_IN_MEMORY: Final = frozenset({CLUSTER, PROCESS})


def find_sources(objects: Iterable[object]) -> tuple[Found, ...]:
    """Find every storage location that some objects read from.

    Nothing is read and no network is contacted. The objects are looked through
    as they are: containers, dask's tasks, partials, closures, and whatever
    else holds other objects, until a registered finder knows one.

    Parameters
    ----------
    objects : iterable
        What a graph's layers hold: tasks, literal arguments, raw arrays.

    Returns
    -------
    tuple of Found
        One for each store, in the order first met.

    Examples
    --------
    >>> import zarr
    >>> array = zarr.create_array({}, name="tp", shape=(4,), dtype="f8")
    >>> [(found.detail, found.array_nbytes) for found in find_sources([{"a task": array}])]
    [("zarr array '/tp'", 32)]
    """
    return _stored(_Walker(finders()).walk_all(objects))


def find_clusters(objects: Iterable[object]) -> tuple[str, ...]:
    """Find the clusters whose Futures some objects hold.

    Parameters
    ----------
    objects : iterable
        As for `find_sources`.

    Returns
    -------
    tuple of str
        Addresses of their schedulers, in the order first met.
    """
    return find_contents(objects).clusters


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What some objects of a graph lead to.

    Attributes
    ----------
    sources : tuple of Found
        Storage locations that they read from.
    clusters : tuple of str
        Addresses of the schedulers whose Futures they hold.
    local : bool
        Whether they hold an object that has no meaning outside this process, such as a
        file that is open for writing.
    """

    sources: tuple[Found, ...]
    clusters: tuple[str, ...]
    local: bool


def find_contents(objects: Iterable[object]) -> Contents:
    """Find sources, clusters and objects of this process in one search."""
    return _contents(_Walker(finders()).walk_all(objects))


def _contents(found: tuple[Found, ...]) -> Contents:
    return Contents(
        sources=_stored(found),
        clusters=tuple(each.store.bucket for each in found if each.store.protocol == CLUSTER),
        local=any(each.store.protocol == PROCESS for each in found),
    )


def local_test() -> Callable[[object], bool]:
    """Make a function that returns whether an object holds an object of this process.

    It remembers, and keeps alive, what it has looked at.
    """
    walker = _Walker(finders())

    def is_local(obj: object) -> bool:
        return any(each.store.protocol == PROCESS for each in walker.walk(obj))

    return is_local


def find_readers(objects: Iterable[object]) -> list[tuple[object, tuple[Found, ...]]]:
    """Find the objects that read from storage, and what each of them reads.

    Parameters
    ----------
    objects : iterable
        As for `find_sources`.

    Returns
    -------
    list of (object, tuple of Found)
        Each after what it holds: a file, then the array that is read from it.
    """
    readers: list[tuple[object, tuple[Found, ...]]] = []
    _Walker(finders(), readers=readers).walk_all(objects)
    return readers


def find_sources_of_each(objects: Iterable[object]) -> list[tuple[Found, ...]]:
    """Find what each of many objects reads: one search, whose parts are told apart.

    Parameters
    ----------
    objects : iterable
        As for `find_sources`; the tasks of a layer whose keys lie in several regions.

    Returns
    -------
    list of tuple of Found
        For each object what `find_sources` would find in it alone.
    """
    walker = _Walker(finders())
    answers: list[tuple[Found, ...]] = []
    for batch in _batches(objects):
        if walker.holds_nothing(batch):
            answers.extend(repeat((), len(batch)))
        else:
            answers.extend(map(_stored, map(walker.walk, batch)))
    return answers


def _without_copies(group: Sequence[object]) -> Sequence[object]:
    """Keep one where all are one object: the function of all tasks, or a number that each adds."""
    if group and group[0] is group[-1] and all(map(is_, group, repeat(group[0]))):
        return group[:1]
    return group


def _stored(found: tuple[Found, ...]) -> tuple[Found, ...]:
    """Leave out what is in the memory of a cluster or of this process, and not in storage."""
    if any(each.store.protocol in _IN_MEMORY for each in found):
        return tuple(each for each in found if each.store.protocol not in _IN_MEMORY)
    return found


def _batches(objects: Iterable[object]) -> Iterator[list[object]]:
    iterator = iter(objects)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def _merge(merged: dict[Store, Found], found: Found) -> None:
    """Keep one of each store: the one of which more is known."""
    before = merged.setdefault(found.store, found)
    if before.array_nbytes is None and found.array_nbytes is not None:
        merged[found.store] = found


class _Walker:
    """One search: remembers what it has seen, so that cycles end and nothing is seen twice.

    Objects are looked at one by one, each after the one before it and what that
    holds. Where there are many, a batch is skipped if a census of its types shows
    nothing that has not been looked at: most tasks hold keys, slices, and the same
    function as the task before.
    """

    def __init__(
        self,
        finders: tuple[SourceFinder, ...],
        *,
        readers: list[tuple[object, tuple[Found, ...]]] | None = None,
    ) -> None:
        self._finders = finders
        # Where to put the objects that read, and what they read.
        self._readers = readers
        # Classes of functions that finders want to see with their arguments.
        self._calls = frozenset(chain.from_iterable(getattr(each, "calls", ()) for each in finders))
        self._seen: dict[int, tuple[Found, ...]] = {}
        # What was seen is kept alive, so that no id is used again.
        self._kept: list[object] = []
        # What texts name, and one object for each text, as many are equal.
        self._names: dict[str, tuple[Found, ...]] = {}
        self._texts: dict[str, str] = {}
        self._depth = 0
        self._strangers = 0
        self._stopped = False

    def walk(self, obj: object) -> tuple[Found, ...]:
        """Find what one object reads."""
        traversal = traversal_of(type(obj))
        if traversal is None:
            return ()
        if traversal.names:
            return self._named(str(obj))
        if not traversal.remembered:
            found = self._ask(obj) if self._is_call(obj) else None
            return self._inside(obj, traversal) if found is None else found
        if (known := self._seen.get(id(obj))) is not None:
            return known
        self._seen[id(obj)] = ()
        self._kept.append(obj)
        found = self._ask(obj) if traversal.stranger else None
        if found is None:
            found = self._inside(obj, traversal)
        if found:
            self._seen[id(obj)] = found
        return found

    def walk_all(self, objects: Iterable[object]) -> tuple[Found, ...]:
        """Find what some objects read, together."""
        merged: dict[Store, Found] = {}
        done: set[int] = set()
        for batch in _batches(objects):
            if len(batch) >= _FEW and (rare := self._rare(batch)) is not None:
                if self._hold_nothing(each for known, each in rare.items() if known not in done):
                    continue
                done.update(rare)
            for obj in batch:
                for found in self.walk(obj):
                    _merge(merged, found)
        return tuple(merged.values())

    def holds_nothing(self, batch: list[object]) -> bool:
        """Whether it can be told, without looking at each, that none of some objects reads."""
        rare = self._rare(batch)
        return rare is not None and self._hold_nothing(rare.values())

    def _hold_nothing(self, objects: Iterable[object]) -> bool:
        return not any(map(self.walk, objects))

    def _plausible(self, texts: Iterable[object]) -> Iterator[tuple[int, str]]:
        """List by id those of many texts or paths that may name a store, each text once."""
        for text in filter(may_name, set(map(str, texts))):
            kept = self._texts.setdefault(text, text)
            yield id(kept), kept

    def _named(self, text: str) -> tuple[Found, ...]:
        if (known := self._names.get(text)) is None:
            known = self._names[text] = find_named(text)
        return known

    def _ask(self, obj: object) -> tuple[Found, ...] | None:
        for finder in self._finders:
            if (listed := self._find(finder, obj)) is not None:
                if (stored := _stored(listed)) and self._readers is not None:
                    self._readers.append((obj, stored))
                return listed
        self._strangers += 1
        return None

    def _find(self, finder: SourceFinder, obj: object) -> tuple[Found, ...] | None:
        """Ask one finder; an object that it fails on is a source of unknown region."""
        try:
            found = finder.find(obj, self.walk)
            return None if found is None else tuple(found)
        except Exception as err:
            if isinstance(err, LocalityError) and not isinstance(err, MissingDependencyError):
                raise
            warn_of_failure(finder, obj, err)
            return (Found.unknown(obj, detail=f"the finder {finder.name!r} failed"),)

    def _rare(self, batch: list[object]) -> dict[int, object] | None:
        """List by id what a batch holds but plain data; None if each is to be looked at.

        Goes down level by level through tasks and containers, with all of one type at
        once and without a line of Python for each.
        """
        rare: dict[int, object] = {}
        level: list[Sequence[object]] = [batch]
        for _ in range(_LEVELS):
            below: list[Sequence[object]] = []
            for group in map(_without_copies, level):
                kinds = set(map(type, group))
                if not self._calls.isdisjoint(map(_NAME, kinds)):
                    return None
                for kind in kinds:
                    if (traversal := traversal_of(kind)) is None:
                        continue
                    those = group
                    if len(kinds) > 1:
                        those = list(compress(group, map(is_, map(type, group), repeat(kind))))
                    if traversal.names:
                        rare.update(self._plausible(those))
                    elif traversal.spread is not None:
                        below.extend(traversal.spread(those))
                    elif all(map(is_, those, repeat(those[0]))):
                        rare[id(those[0])] = those[0]
                    else:
                        rare.update(zip(map(id, those), those, strict=True))
            if not below:
                return rare
            if sum(map(len, below)) > 8 * _BATCH:
                # Shared or cyclic containers would multiply from level to level.
                below = [list({id(obj): obj for group in below for obj in group}.values())]
            level = below
        return None

    def _is_call(self, obj: object) -> bool:
        return isinstance(obj, Task) and type(obj.func).__name__ in self._calls

    def _inside(self, obj: object, traversal: Traversal) -> tuple[Found, ...]:
        inside = [
            child for child in traversal.children(obj) if traversal_of(type(child)) is not None
        ]
        if not inside:
            return ()
        if self._depth >= _DEEPEST or self._strangers >= _MOST_STRANGERS:
            if not self._stopped:
                logger.warning("Stopped looking for sources at an object of type %s", type(obj))
                self._stopped = True
            return ()
        self._depth += 1
        try:
            return self.walk_all(inside)
        finally:
            self._depth -= 1
