"""Words, names and sizes of the sources: what a reader who is new here relies on."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

import xr_locality

ROOT = Path(xr_locality.__file__).parent

SOURCES = {
    str(path.relative_to(ROOT)): path.read_text("utf-8") for path in sorted(ROOT.rglob("*.py"))
}

#: Words of which a reader cannot know who or what is meant, or that English hardly uses.
DIALECT = re.compile(
    r"\b(afar|anew|anybody|everybody|nobody|somebody|whoever|anyone else|those who|told|let go)\b",
    re.IGNORECASE,
)

#: Words that are still there, by part of the package. Lower a number when you rewrite; a part
#: that is not named has none.
DIALECT_LEFT = {
    "demo": 1,
    "endpoints": 2,
    "execution": 156,
    "graph": 7,
    "placement": 6,
    "plan": 17,
    "program": 4,
    "regions": 50,
    "runtime": 3,
    "session": 3,
    "sources": 11,
    "testing": 30,
}

#: Class names that mean two things, and why both stay.
SHARED_CLASS_NAMES = {
    "_Pickler": "private subclasses of pickle's class, each beside its only caller",
    "_Wanted": "private records of two modules that never meet",
    "Link": "the link of prices, of the emulated network, and of a shaped server: not yet renamed",
    "Server": "serve_files.py runs by itself in a child process and imports nothing of ours",
}

#: File stems that mean two things, and why both stay.
SHARED_STEMS = {
    "files": "files of catalogs, and finders of files: storage is named by what it finds",
    "context": "that of a plan and that of a session",
    "fsspec": "`compat` and `sources/storage` are named by project",
    "icechunk": "`compat` and `sources/storage` are named by project",
    "virtualizarr": "`compat` and `sources/storage` are named by project",
    "zarr": "`compat` and `sources/storage` are named by project",
}

MOST_MODULES = 16
MOST_LINES = 500

#: Folders with more modules, and modules with more lines, and how many they have.
LARGE_FOLDERS = {"plan": 19, "execution": 18}
LARGE_MODULES = {"session/session.py": 510}


def part_of(name: str) -> str:
    """Name the part of the package that a file belongs to."""
    return name.partition("/")[0].removesuffix(".py")


def count_dialect(sources: Mapping[str, str]) -> Counter[str]:
    """Count words of the old dialect by part of the package."""
    found: Counter[str] = Counter()
    for name, text in sources.items():
        found[part_of(name)] += len(DIALECT.findall(text))
    return +found


def shared_class_names(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Find names that two modules give to classes."""
    places = defaultdict(list)
    for name, text in sources.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
    return {each: found for each, found in places.items() if len(found) > 1}


def shared_stems(names: Iterable[str]) -> dict[str, list[str]]:
    """Find names that two files share, apart from those that Python gives a meaning."""
    places = defaultdict(list)
    for name in names:
        if not (stem := Path(name).stem).startswith("__"):
            places[stem].append(name)
    return {each: found for each, found in places.items() if len(found) > 1}


def large_folders(names: Iterable[str]) -> dict[str, int]:
    """Find folders with too many modules, `__init__.py` not counted."""
    found = Counter(str(Path(name).parent) for name in names if Path(name).name != "__init__.py")
    return {each: n for each, n in found.items() if n > MOST_MODULES}


def large_modules(sources: Mapping[str, str]) -> dict[str, int]:
    """Find modules with too many lines."""
    found = {name: text.count("\n") for name, text in sources.items()}
    return {each: n for each, n in found.items() if n > MOST_LINES}


class TestScans:
    def test_words(self) -> None:
        """No part of the package has more words of the old dialect than are known."""
        assert {
            part: n for part, n in count_dialect(SOURCES).items() if n > DIALECT_LEFT.get(part, 0)
        } == {}

    def test_class_names_are_unique(self) -> None:
        """A class name means one thing, but for those with a reason."""
        shared = shared_class_names(SOURCES)
        assert {each: shared[each] for each in shared.keys() - SHARED_CLASS_NAMES} == {}

    def test_stems_are_unique(self) -> None:
        """A file's name means one thing, but for those with a reason."""
        shared = shared_stems(SOURCES)
        assert {each: shared[each] for each in shared.keys() - SHARED_STEMS} == {}

    def test_folders_are_small(self) -> None:
        """A folder holds few enough modules to be read at a glance."""
        found = large_folders(SOURCES)
        assert {each: n for each, n in found.items() if n > LARGE_FOLDERS.get(each, 0)} == {}

    def test_modules_are_small(self) -> None:
        """A module holds one idea."""
        found = large_modules(SOURCES)
        assert {each: n for each, n in found.items() if n > LARGE_MODULES.get(each, 0)} == {}


class TestPlanted:
    """Each scan finds a violation that is planted."""

    @pytest.mark.parametrize("word", ["nobody", "Whoever", "anew", "those who", "told"])
    def test_word(self, word: str) -> None:
        """A word of the old dialect is found in a docstring, and not inside of another word."""
        text = f'"""Reads {word} asks, in the {word.replace(" ", "_")}land."""\n'
        assert count_dialect({"graph/cut.py": text, "api.py": "x = 1\n"}) == {"graph": 1}

    def test_class_name(self) -> None:
        """A class of the same name in a second module is found."""
        sources = {"a.py": "class Link: ...\n", "b/c.py": "class Link: ...\nclass Own: ...\n"}
        assert shared_class_names(sources) == {"Link": ["a.py", "b/c.py"]}

    def test_stem(self) -> None:
        """A file of the same name in a second folder is found."""
        names = ["a/state.py", "b/state.py", "a/__init__.py", "b/__init__.py"]
        assert shared_stems(names) == {"state": ["a/state.py", "b/state.py"]}

    def test_folder(self) -> None:
        """A folder with one module too many is found."""
        names = [f"a/m{n}.py" for n in range(MOST_MODULES)] + ["a/__init__.py"]
        assert large_folders(names) == {}
        assert large_folders([*names, "a/more.py"]) == {"a": MOST_MODULES + 1}

    def test_module(self) -> None:
        """A module with one line too many is found."""
        assert large_modules({"a.py": "\n" * MOST_LINES}) == {}
        assert large_modules({"a.py": "\n" * (MOST_LINES + 1)}) == {"a.py": MOST_LINES + 1}
