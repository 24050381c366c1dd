"""Conformance tests that a finder of sources inherits.

.. code-block:: python

    from xr_locality.testing.finders import Example, SourceFinderTests

    class TestTapeFinder(SourceFinderTests):
        def make_finder(self):
            return TapeFinder()

        def make_examples(self):
            return [Example(name="tape", obj=Tape(7), stores=[Store(protocol="tape", bucket="7")])]
"""

from __future__ import annotations

import logging
import pickle
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any, Final, NoReturn

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xr_locality.regions.store import Store
from xr_locality.sources.finder import Found, SourceFinder
from xr_locality.sources.finder_registry import finders, register_finder, unregister_finder
from xr_locality.sources.search import find_sources, find_sources_of_each
from xr_locality.sources.traversal import Task, TaskRef

__all__ = ["Example", "SourceFinderTests", "foreign_objects"]

# Generous: what contacts a network, reads, or imports a library takes longer.
_MOST_SECONDS_A_STRANGER: Final = 1e-3
_MOST_SECONDS_AN_EXAMPLE: Final = 0.5
_REPEATS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An object that a finder knows, and what is to be found in it.

    Attributes
    ----------
    name : str
        What it is, for messages.
    obj : object
        As a graph would hold it. Nothing need listen where its data are.
    stores : sequence of Store
        Where it reads from, in order; empty if it reads nothing.
    array_nbytes : int, optional
        Bytes in memory that must be found, all stores together.
    stored_nbytes : int, optional
        Stored bytes that must be found, all stores together; they are asked for.
    secrets : sequence of str
        Credentials of the object, which nothing may show.
    """

    name: str
    obj: Any
    stores: Sequence[Store]
    array_nbytes: int | None = None
    stored_nbytes: int | None = None
    secrets: Sequence[str] = ()


def foreign_objects() -> list[object]:
    """Make objects that read nothing: data, functions, machinery, what regrids."""
    weights = {"weights": np.ones((3, 3)), "shape_in": (3, 3), "shape_out": (3, 3)}
    regridder = type("Regridder", (), {"__call__": lambda self, array: array})()
    vars(regridder).update(weights)
    return [
        print,
        np.add,
        lambda x: x,
        partial(np.add, 1),
        np.ones(3),
        np.float64(1),
        np.ma.masked_array([1, 2]),
        pd.DataFrame({"a": [1]}),
        pd.date_range("2000", periods=3),
        xr.Dataset({"a": ("x", [1, 2])}),
        xr.DataArray([1, 2]),
        da.ones(3),
        BytesIO(b"bytes"),
        {"a": [1, (2, "b"), "a name. And a sentence / with marks"]},
        regridder,
        threading.Lock(),
        logging.getLogger("foreign"),
        object(),
    ]


class SourceFinderTests:
    """Tests that a finder keeps what :class:`~xr_locality.sources.finder.SourceFinder` asks for.

    Inherit, give a finder and examples, and pytest does the rest. Fixtures of your
    own may hand what they make to `make_examples` through attributes of ``self``.
    """

    def make_finder(self) -> SourceFinder:
        """Make the finder that is tested."""
        raise NotImplementedError

    def make_examples(self) -> list[Example]:
        """Make objects of each kind that the finder knows."""
        raise NotImplementedError

    def make_foreign_objects(self) -> list[object]:
        """Make objects that the finder must not know."""
        return foreign_objects()

    @pytest.fixture
    def finder(self) -> Iterator[SourceFinder]:
        """Register the finder for one test, unless one of its name is there."""
        finder = self.make_finder()
        known = any(each.name == finder.name for each in finders())
        if not known:
            register_finder(finder)
        yield finder
        if not known:
            unregister_finder(finder.name)

    @pytest.fixture
    def examples(self) -> list[Example]:
        """Make the examples."""
        return self.make_examples()

    def test_keeps_the_protocol(self, finder: SourceFinder) -> None:
        """It has a name and the method."""
        assert isinstance(finder, SourceFinder)
        assert finder.name
        assert finder.name.strip() == finder.name

    def test_finds_what_it_should(self, finder: SourceFinder, examples: list[Example]) -> None:
        """It finds the stores of each example: protocol, service, bucket and path."""
        # Some may reach it only through another finder, as zarr's arrays do.
        assert any(finder.find(example.obj, _walk) is not None for example in examples)
        for example in examples:
            found = find_sources([example.obj])
            assert [each.store for each in found] == list(example.stores), example.name
            for each in found:
                assert isinstance(each, Found)
                assert each.detail, f"{example.name} is found without a detail"

    def test_finds_it_in_graphs(self, finder: SourceFinder, examples: list[Example]) -> None:
        """It finds each example in tasks, however it is wrapped, and among many others."""
        for example in examples:
            expected = list(example.stores)
            for wrap in _WRAPS:
                found = find_sources([wrap(example.obj)])
                assert [each.store for each in found] == expected, example.name
            tasks: list[object] = [
                Task(("x", n), print, TaskRef(("y", n)), slice(n)) for n in range(2000)
            ]
            tasks[1000] = Task("key", print, [example.obj])
            each_found = find_sources_of_each(tasks)
            assert [found.store for found in each_found[1000]] == expected, example.name
            assert not any(each_found[:1000])

    def test_knows_sizes(self, finder: SourceFinder, examples: list[Example]) -> None:
        """It finds sizes in memory and in the store, where the example states them."""
        for example in examples:
            found = find_sources([example.obj])
            if example.array_nbytes is not None:
                sizes = [each.array_nbytes for each in found]
                assert None not in sizes, example.name
                assert sum(sizes) == example.array_nbytes, example.name  # type: ignore[arg-type]
            if example.stored_nbytes is not None:
                stored = [each.stored_nbytes() for each in found]
                assert None not in stored, example.name
                assert sum(stored) == example.stored_nbytes, example.name  # type: ignore[arg-type]

    def test_finds_the_same_again(self, finder: SourceFinder, examples: list[Example]) -> None:
        """It answers the same each time: plans are the same for the same graph."""
        for example in examples:
            first, second = find_sources([example.obj]), find_sources([example.obj])
            assert first == second, example.name

    def test_finds_nothing_in_other_objects(self, finder: SourceFinder) -> None:
        """It does not know data, functions and the machinery of a process."""
        for obj in self.make_foreign_objects():
            found = finder.find(obj, _walk)
            assert not list(found or ()), f"{type(obj)} is taken for a source"
            assert find_sources([obj]) == ()

    def test_contacts_no_network(self, finder: SourceFinder, examples: list[Example]) -> None:
        """It finds without connecting to anything, as far as Python can see."""
        with _no_network():
            for example in examples:
                found = find_sources([example.obj])
                assert [each.store for each in found] == list(example.stores), example.name

    def test_imports_nothing(self, finder: SourceFinder) -> None:
        """It imports no library to look at what is not its own."""
        before = set(sys.modules)
        for obj in self.make_foreign_objects():
            finder.find(obj, _walk)
        new = {name.partition(".")[0] for name in set(sys.modules) - before}
        assert not new - {"xr_locality"}

    def test_is_cheap(self, finder: SourceFinder, examples: list[Example]) -> None:
        """It takes microseconds for what it does not know, and little for what it does."""
        for obj in self.make_foreign_objects():
            seconds = _fastest(lambda obj=obj: finder.find(obj, _walk))  # type: ignore[misc]
            assert seconds < _MOST_SECONDS_A_STRANGER, f"{seconds} s for a {type(obj)}"
        for example in examples:
            seconds = _fastest(lambda obj=example.obj: find_sources([obj]))  # type: ignore[misc]
            assert seconds < _MOST_SECONDS_AN_EXAMPLE, f"{seconds} s for {example.name}"

    def test_shows_no_secret(
        self, finder: SourceFinder, examples: list[Example], caplog: pytest.LogCaptureFixture
    ) -> None:
        """What it finds can be shown, logged and pickled without giving anything away."""
        with caplog.at_level(logging.DEBUG):
            for example in examples:
                for found in find_sources([example.obj]):
                    found.stored_nbytes()
                    shown = [repr(found), str(found), found.url, found.group_url, found.detail]
                    shown += [repr(found.store), str(found.store), str(found.group)]
                    shown.append(pickle.dumps(found.store).decode("latin-1"))
                    for secret in example.secrets:
                        assert not any(secret in text for text in shown), example.name
        records = [each for each in caplog.records if each.name.startswith("xr_locality")]
        text = "\n".join(each.getMessage() for each in records)
        assert not any(secret in text for example in examples for secret in example.secrets)


def _walk(obj: object) -> tuple[Found, ...]:
    return find_sources([obj])


_WRAPS: Final[tuple[Callable[[Any], object], ...]] = (
    lambda obj: [obj],
    lambda obj: {"a": (1, obj)},
    lambda obj: Task("key", print, obj, TaskRef("other")),
    lambda obj: Task("key", print, x=[obj]),
    lambda obj: Task("key", partial(print, obj)),
    lambda obj: (print, ("other", 0), obj),
)


def _fastest(call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@contextmanager
def _no_network() -> Iterator[None]:
    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise AssertionError(f"A finder connects to {args[1:] or args}.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket.socket, "connect_ex", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield
