import functools
import logging
import subprocess
import sys
import threading
from collections import deque, namedtuple
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import MappingProxyType

import dask
import dask.array as da
import numpy as np
import pytest

from xr_locality.compat.dask_graph import Alias, DataNode, Task, TaskRef
from xr_locality.errors import ConfigurationError
from xr_locality.regions import Store
from xr_locality.sources import (
    Found,
    SourceFinder,
    find_sources,
    find_sources_of_each,
    register_finder,
    unregister_finder,
)
from xr_locality.sources.finder import Walk
from xr_locality.sources.finder_registry import finders


class Tape:
    """A kind of storage that nobody knows yet."""

    def __init__(self, number: int) -> None:
        self.number = number


class TapeFinder:
    """A finder as another package may write it."""

    name = "tape"

    def find(self, obj: object, walk: Walk) -> Iterable[Found] | None:
        """Know tapes, and boxes of them."""
        if isinstance(obj, Box):
            return walk(obj.content)
        if not isinstance(obj, Tape):
            return None
        return [Found.at(Store(protocol="tape", bucket=str(obj.number)))]


class Box:
    """Something around a tape."""

    def __init__(self, content: object) -> None:
        self.content = content


class Slotted:
    """A wrapper without a dictionary."""

    __slots__ = ("_inside", "unset")

    def __init__(self, inside: object) -> None:
        self._inside = inside


class Child(Slotted):
    """A wrapper whose parent has the slot."""

    __slots__ = ("more",)


class Wrapper:
    """A wrapper that no finder knows."""

    def __init__(self, content: object) -> None:
        self.content = content

    @property
    def costly(self) -> None:
        """Fail, as a property that must not be asked for."""
        raise AssertionError("a property was asked for")

    def read(self) -> object:
        """Return what is inside."""
        return self.content


@pytest.fixture(autouse=True)
def tapes() -> Iterator[None]:
    """Register the finder of tapes for one test."""
    register_finder(TapeFinder())
    yield
    unregister_finder("tape")


def numbers(*objects: object) -> list[str]:
    """Return the tapes found in some objects."""
    return [found.store.bucket for found in find_sources(objects)]


def closure(tape: Tape) -> Callable[..., object]:
    """Return a function that remembers a tape."""

    def function(value: object = None) -> object:
        return value if tape else None

    return function


Pair = namedtuple("Pair", ["left", "right"])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tape: tape,
        lambda tape: [1, "x", (tape, None)],
        lambda tape: {"a": {"b": tape}},
        lambda tape: MappingProxyType({"a": tape}),
        lambda tape: {tape},
        lambda tape: deque([tape]),
        lambda tape: Pair(1, tape),
        lambda tape: functools.partial(print, tape),
        lambda tape: functools.partial(print, x=tape),
        lambda tape: Wrapper(tape).read,
        closure,
        lambda tape: lambda x=tape: x,
        lambda tape: lambda *, x=tape: x,
        Slotted,
        Child,
        lambda tape: Task("key", print, TaskRef("other"), [tape], end=""),
        lambda tape: Task("key", print, x=tape),
        lambda tape: Task("key", functools.partial(print, tape), Alias("other")),
        lambda tape: DataNode("key", tape),
        lambda tape: (print, ("other", 0), [tape]),
        lambda tape: da.from_array(np.ones(3)).map_blocks(closure(tape)).dask,
        dask.delayed(print),
    ],
    ids="""itself list dict proxy set deque namedtuple partial partial-keyword method closure
    default keyword-default slots inherited-slots task task-keyword task-function data-node
    legacy-task graph delayed""".split(),
)
def test_wrapped_sources_are_found(wrap: Callable[[Tape], object]) -> None:
    """A source is found whatever holds it in a graph."""
    assert numbers(wrap(Tape(7))) == ["7"]


def test_unknown_wrappers_are_looked_through() -> None:
    """An object of an unknown type is looked through by its attributes, never its properties."""
    assert numbers(Wrapper([Tape(1), Wrapper(Tape(2))])) == ["1", "2"]


def test_compiled_functions_are_not_looked_into() -> None:
    """Functions of numba lead to thousands of objects of their compiler; none is looked at."""

    class Dispatcher:
        """As numba makes of a function."""

        def __init__(self) -> None:
            self.target = Tape(1)

    Dispatcher.__module__ = "numba.core.registry"
    assert find_sources([Task("k", Dispatcher(), TaskRef("block"))]) == ()


def test_finders_look_further() -> None:
    """What a finder holds out is looked through with all finders."""
    assert numbers(Box([Wrapper(Tape(1)), Box(Tape(2))])) == ["1", "2"]


def test_one_of_each_in_order() -> None:
    """A source met many times is reported once, where it was met first."""
    first, second = Tape(1), Tape(2)
    assert numbers([second, first], first, {"a": second}, Tape(2)) == ["2", "1"]


def test_more_known_is_kept() -> None:
    """Of two reports of one store, the one that knows the array's size is kept."""
    store = Store.from_url("s3://bucket/a")

    class Sized:
        name = "sized"

        def find(self, obj: object, walk: Walk) -> Iterable[Found] | None:
            if not isinstance(obj, Tape):
                return None
            size = 80 if obj.number == 1 else None
            return [Found(store=store, group=store, array_nbytes=size)]

    register_finder(Sized())
    try:
        for order in ([Tape(0), Tape(1)], [Tape(1), Tape(0)]):
            (found,) = find_sources(order)
            assert found.array_nbytes == 80
    finally:
        unregister_finder("sized")


def test_cycles_end() -> None:
    """Objects that hold one another are looked at once each."""
    ring: list[object] = [Tape(1)]
    ring.append(ring)
    box = Wrapper(ring)
    ring += [box] * 50
    box.content = [ring, box, Tape(2)]
    assert numbers(box) == ["1", "2"]


def test_depth_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """Nesting without end is given up, and the log says so once."""
    deep: object = Tape(1)
    for _ in range(10_000):
        deep = [deep, [deep]]
    with caplog.at_level(logging.WARNING):
        assert numbers(deep, Tape(2)) == ["2"]
    assert len(caplog.records) == 1


def many(tape: Tape, wrap: Callable[[object], object]) -> list[object]:
    """Hide a tape among thousands of tasks of other things."""
    tasks: list[object] = [
        Task(("x", number), print, TaskRef(("y", number)), slice(number), end="")
        for number in range(3000)
    ]
    tasks[1500:1500] = [(print, [("y", number, 0), ("y", number, 1)]) for number in range(3000)]
    tasks.insert(4000, wrap(tape))
    return tasks


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tape: tape,
        lambda tape: Task("key", print, 1, tape),
        lambda tape: Task("key", closure(tape), 1),
        lambda tape: Task("key", print, x=[{"y": (1, tape)}]),
        lambda tape: DataNode("key", [tape]),
        lambda tape: (print, [("y", 0), ("y", tape)]),
        lambda tape: {"a": {1: frozenset([tape])}},
        lambda tape: [[[[[[[[[[[[[tape]]]]]]]]]]]]],
    ],
    ids="itself task task-function task-keyword data-node legacy-task sets deep".split(),
)
def test_a_source_among_many_tasks(wrap: Callable[[object], object]) -> None:
    """One source among thousands of tasks is found, alone or in a graph, and told apart."""
    tasks = many(Tape(7), wrap)
    assert numbers(*tasks) == ["7"]
    assert numbers(dict(enumerate(tasks))) == ["7"]
    each = find_sources_of_each(tasks)
    assert len(each) == len(tasks)
    assert [number for number, found in enumerate(each) if found] == [4000]


def test_order_among_many_tasks() -> None:
    """Among thousands of tasks too, sources come in the order in which they are met."""
    tapes = [Tape(number) for number in (3, 1, 2)]
    tasks = [Task(("x", n), print, [tapes[(n // 1000) % 3]], n) for n in range(6000)]
    assert numbers(*tasks) == ["3", "1", "2"]
    assert numbers(*reversed(tasks)) == ["2", "1", "3"]
    assert [found.store.bucket for (found,) in find_sources_of_each(tasks)] == (
        ["3"] * 1000 + ["1"] * 1000 + ["2"] * 1000
    ) * 2


def test_what_was_seen_elsewhere_is_in_both() -> None:
    """Of two long lists that hold one source, each is said to hold it."""
    tape = Tape(1)
    lists = [[[number, tape] for number in range(2000)] for _ in range(2)]
    assert [len(found) for found in find_sources_of_each(lists)] == [1, 1]


def test_many_objects_in_cycles_end() -> None:
    """A ring of long lists that hold one another is looked at once."""
    ring: list[list[object]] = [[Tape(number)] for number in range(40)]
    for each in ring:
        each.extend(ring)
    assert numbers(*ring) == [str(number) for number in range(40)]


@pytest.mark.parametrize(
    "plain",
    [
        "mean",
        b"s3://bucket",
        3,
        2.5,
        None,
        ...,
        slice(0, 3),
        np.zeros(3),
        np.float64(1),
        np.dtype("f8"),
        np.add,
        len,
        threading,
        threading.Lock(),
        logging.getLogger(),
        Path("no/such/file.nc"),
        TaskRef("key"),
        Alias("key"),
        da.ones(10, chunks=2).dask,
        {"attrs": {"doi": "10.1/ab.c", "title": "A sentence. Of two."}},
        {"attrs": {"separator": "/", "here": "."}},
    ],
    ids=lambda plain: type(plain).__name__,
)
def test_plain_objects_hold_nothing(plain: object) -> None:
    """Data, names, text and the process's own machinery are no sources."""
    assert find_sources([plain]) == ()


def test_new_finder_is_asked_first() -> None:
    """A finder from another package comes before those that are there; its name is its own."""
    assert finders()[0].name == "tape"
    with pytest.raises(ConfigurationError, match="'tape'"):
        register_finder(TapeFinder())
    with pytest.raises(ConfigurationError, match="'disk'"):
        unregister_finder("disk")


def test_finders_keep_the_protocol() -> None:
    """All that is registered is a SourceFinder, by name and method."""
    assert all(isinstance(each, SourceFinder) for each in finders())


def test_import_is_light() -> None:
    """Importing the finders imports no storage library and no distributed."""
    code = (
        "import sys, xr_locality.sources\n"
        "print([m for m in ('zarr', 's3fs', 'distributed', 'intake') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
