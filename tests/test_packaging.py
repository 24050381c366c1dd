"""What is shipped, what importing costs, and who may import whom."""

from __future__ import annotations

import ast
import graphlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path

import pytest

import xr_locality
from support.polling import patience

ROOT = Path(xr_locality.__file__).parent

PUBLIC = {
    "GatewayEndpoint",
    "Plan",
    "Region",
    "Report",
    "Session",
    "compute",
    "errors",
    "persist",
    "plan",
    "routed",
    "sources",
    "tag",
    "where",
}

#: What each part may import beside itself; what those may import comes along.
NEXT_LEFT = {
    "errors": [],
    "config": ["errors"],
    "runtime": ["errors"],
    "compat": ["errors"],
    "regions": ["config", "runtime", "compat"],
    "graph": ["regions"],
    "sources": ["graph"],
    "placement": ["regions"],
    "endpoints": ["regions"],
    "plan": ["sources", "placement"],
    "program": ["plan"],
    "execution": ["program", "endpoints"],
    "display": ["execution"],
    "session": ["display"],
    "api": ["session"],
    "routing": ["api"],
    "accessor": ["routing"],
    "catalog": ["api"],
    "cli": ["demo"],
    "__init__": ["accessor"],
    "__main__": ["cli"],
    "testing": ["api", "catalog"],
    "demo": ["testing"],
}

#: The only part that may import ``testing``; the command line imports it when it is run.
DEMONSTRATES = "demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One import of a module of ours, or of somebody else's, by a module of ours."""

    by: str
    line: int
    target: str
    name: str | None
    nested: bool
    for_types: bool

    @property
    def part(self) -> str:
        """The part of the package that imports."""
        return part_of(self.by)

    def __str__(self) -> str:
        return f"{self.by}:{self.line} imports {self.target}"


def part_of(module: str) -> str:
    """Name the part of the package that a module belongs to."""
    return module.split(".")[1] if "." in module else "__init__"


def find_modules() -> dict[str, Path]:
    """Find all modules of the package by their dotted names."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ["xr_locality", *path.relative_to(ROOT).with_suffix("").parts]
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = find_modules()


def imports() -> Iterator[Import]:
    """Read all imports from the sources of the package."""
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text("utf-8"))
        yield from imports_in(tree, module, nested=False, for_types=False)


def imports_in(node: ast.AST, module: str, *, nested: bool, for_types: bool) -> Iterator[Import]:
    """Read the imports below one node of a module's syntax tree."""
    for child in ast.iter_child_nodes(node):
        inner = nested or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        types = for_types or (
            isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        )
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(
                    by=module,
                    line=child.lineno,
                    target=alias.name,
                    name=None,
                    nested=nested,
                    for_types=for_types,
                )
        elif isinstance(child, ast.ImportFrom):
            for alias in child.names:
                submodule = f"{child.module}.{alias.name}"
                is_module = submodule in MODULES
                yield Import(
                    by=module,
                    line=child.lineno,
                    target=submodule if is_module else str(child.module),
                    name=None if is_module else alias.name,
                    nested=nested,
                    for_types=for_types,
                )
        yield from imports_in(child, module, nested=inner, for_types=types)


def allowed(part: str) -> set[str]:
    """Name the parts that one may import, itself among them."""
    found: set[str] = set()
    waiting = [part]
    while waiting:
        if (each := waiting.pop()) not in found:
            found.add(each)
            waiting += NEXT_LEFT[each]
    return found


#: Private attributes that are used outside of ``compat``, with the reason or the fact that the
#: module is still to be cleaned. The list may only shrink.
PRIVATE_ELSEWHERE: dict[str, set[str]] = {
    "xr_locality.catalog.files": {"_strip_protocol"},
    "xr_locality.catalog.intake": {
        "_captured_init_kwargs",
        "_catalog_dir",
        "_driver",
        "_get_entries",
        "_metadata",
        "_open_args",
        "_user_parameters",
    },
    "xr_locality.execution.checks.trial_reads": {"_fragment", "_store"},
    "xr_locality.execution.metrics.read_counting": {"_async_array", "_config"},
    # The documented way to find the frame of the caller.
    "xr_locality.execution.runner": {"_getframe"},
    # Python's own; without it, the documented `atexit` serves.
    "xr_locality.execution.session_resources": {"_register_atexit"},
    "xr_locality.testing.testbed": {"_loop_runner"},
}


def private_attributes(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Find the private attributes that a module uses of objects that are not its own."""
    own = set(own_names(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            mine = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            name, line = "" if mine else node.attr, node.lineno
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("getattr", "hasattr", "setattr")
            and isinstance(node.args[1], ast.Constant)
        ):
            name, line = str(node.args[1].value), node.lineno
        else:
            continue
        if re.match(r"_(?!_)", name) and name not in own:
            yield line, name


def own_names(tree: ast.Module) -> Iterator[str]:
    """Name what the classes of a module define: methods, fields and attributes of ``self``."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for each in ast.walk(node):
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                yield each.name
            elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                yield each.id
            elif (
                isinstance(each, ast.Attribute)
                and isinstance(each.ctx, ast.Store)
                and isinstance(each.value, ast.Name)
                and each.value.id in ("self", "cls")
            ):
                yield each.attr


def leftward(items: Iterable[Import]) -> Iterator[str]:
    """Find imports of parts that stand after the importing one in the order."""
    for item in items:
        if part_of(item.target) not in allowed(item.part):
            yield str(item)


IMPORTS = list(imports())
OWN_IMPORTS = [item for item in IMPORTS if item.target.split(".")[0] == "xr_locality"]


def in_new_process(code: str) -> object:
    """Run code that prints JSON in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(60),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class TestShipped:
    @pytest.mark.parametrize(
        "path",
        [
            "py.typed",
            "locality.yaml",
            "locality-schema.yaml",
            "display/html.css",
            "data/README.md",
            "data/cloud_regions.csv",
            "data/egress_prices.csv",
            "data/interregion_network.csv",
            "data/public_buckets.csv",
        ],
    )
    def test_files(self, path: str) -> None:
        """The package brings its marker for types, its defaults and its tables."""
        assert resources.files("xr_locality").joinpath(path).is_file()

    def test_public_names(self) -> None:
        """`__all__` is what the documentation promises, sorted, and each name is there."""
        assert set(xr_locality.__all__) - {"__version__"} == PUBLIC
        assert list(xr_locality.__all__) == sorted(xr_locality.__all__)
        for name in xr_locality.__all__:
            assert getattr(xr_locality, name) is not None

    def test_catalog_is_an_attribute(self) -> None:
        """`xr_locality.catalog` is there without being imported by its name."""
        code = "import json, xr_locality as xl; print(json.dumps(callable(xl.catalog.learn)))"
        assert in_new_process(code) is True

    def test_plan_is_the_function(self) -> None:
        """`xr_locality.plan` is the function, though a package bears that name."""
        code = (
            "import json, xr_locality, xr_locality.plan.model, xr_locality as xl; "
            "print(json.dumps(type(xl.plan).__name__))"
        )
        assert in_new_process(code) == "function"

    def test_version(self) -> None:
        """The version is that of the installed distribution."""
        assert xr_locality.__version__ == metadata.version("xr-locality")

    @pytest.mark.parametrize(
        ("group", "name"),
        [
            ("console_scripts", "xr-locality"),
            ("intake.drivers", "xarray_locality"),
            ("intake.drivers", "xarray_locality_icechunk"),
            ("intake.drivers", "xarray_locality_kerchunk"),
            ("intake.drivers", "xarray_locality_netcdf"),
            ("intake.imports", "xr_locality"),
        ],
    )
    def test_entry_points(self, group: str, name: str) -> None:
        """The command line, Intake's drivers and its readers are found under their names."""
        (found,) = metadata.entry_points(group=group, name=name)
        assert found.load() is not None

    def test_extras_that_are_named_exist(self) -> None:
        """Whatever extra a message tells a user to install is there to be installed."""
        named = {
            extra
            for path in MODULES.values()
            for extra in re.findall(r"xr-locality\[([\w,-]+)\]", path.read_text("utf-8"))
        }
        offered = metadata.metadata("xr-locality").get_all("Provides-Extra") or []
        assert {one for extras in named for one in extras.split(",")} <= set(offered)


class TestImporting:
    def test_is_light(self) -> None:
        """`import xr_locality` loads no scheduler, no catalog, no cloud and no plots."""
        heavy = {
            "aiohttp",
            "botocore",
            "dask_gateway",
            "distributed",
            "fsspec",
            "gcsfs",
            "adlfs",
            "intake",
            "matplotlib",
            "pytest",
            "rich",
            "s3fs",
            "zarr",
        }
        code = "import json, sys, xr_locality; print(json.dumps(sorted(sys.modules)))"
        loaded = in_new_process(code)
        assert isinstance(loaded, list)
        assert "xr_locality" in loaded
        assert heavy.isdisjoint(loaded)
        assert not [name for name in loaded if name.startswith("xr_locality.testing")]

    def test_starts_nothing(self) -> None:
        """`import xr_locality` starts no thread and no process."""
        code = (
            "import json, threading, multiprocessing, xr_locality; "
            "print(json.dumps([threading.active_count(), "
            "len(multiprocessing.active_children())]))"
        )
        assert in_new_process(code) == [1, 0]

    def test_registers_the_accessor(self) -> None:
        """`import xr_locality` puts `.locality` on Dataset, DataArray and DataTree."""
        code = (
            "import json, xarray as xr, xr_locality; "
            "print(json.dumps([hasattr(kind, 'locality') "
            "for kind in (xr.Dataset, xr.DataArray, xr.DataTree)]))"
        )
        assert in_new_process(code) == [True, True, True]


class TestImportDirection:
    def test_every_part_has_its_place(self) -> None:
        """A new part of the package must be given its place in the order."""
        assert {part_of(module) for module in MODULES} <= set(NEXT_LEFT)

    def test_nothing_imports_leftwards(self) -> None:
        """Each part imports only what stands before it in the order, even for types."""
        assert not list(leftward(OWN_IMPORTS))

    @pytest.mark.parametrize(
        "code",
        [
            "import xr_locality.execution.run",
            "def f(): from xr_locality import execution",
            "if TYPE_CHECKING:\n    from xr_locality.plan.model import PlanRecord",
        ],
    )
    def test_planted_import_is_found(self, code: str) -> None:
        """An import against the order is found, inside a function and for types too."""
        module = "xr_locality.placement.mincut"
        found = imports_in(ast.parse(code), module, nested=False, for_types=False)
        assert len(list(leftward(found))) == 1

    def test_no_cycles(self) -> None:
        """No modules import each other in a circle, not even from inside functions."""
        graph: dict[str, set[str]] = {module: set() for module in MODULES}
        for item in OWN_IMPORTS:
            if not item.for_types:
                graph[item.by].add(item.target)
        graphlib.TopologicalSorter(graph).prepare()

    def test_testing_is_imported_by_nobody(self) -> None:
        """The testbed is no part of the library; only the demo starts it, when it is run."""
        wrong = [
            str(item)
            for item in OWN_IMPORTS
            if (part_of(item.target) == "testing" and item.part not in ("testing", DEMONSTRATES))
            or (part_of(item.target) == DEMONSTRATES != item.part and not item.nested)
        ]
        assert not wrong

    def test_private_names_stay_home(self) -> None:
        """No module imports another's private names."""
        wrong = [
            f"{item}.{item.name}"
            for item in OWN_IMPORTS
            if item.name is not None and re.match(r"_(?!_)", item.name)
        ]
        assert not wrong

    @pytest.mark.parametrize(
        ("part", "never"),
        [
            ("placement", {"dask", "distributed", "xarray"}),
            ("regions", {"dask", "distributed", "xarray"}),
            ("graph", {"distributed", "dask_gateway"}),
            ("plan", {"distributed", "dask_gateway", "fsspec", "socket"}),
        ],
    )
    def test_what_a_part_knows(self, part: str, never: set[str]) -> None:
        """Deciding is pure: places are numbers, graphs have no cluster, plans no connection."""
        wrong = [
            str(item)
            for item in IMPORTS
            if item.part == part and item.target.split(".")[0] in never
        ]
        assert not wrong

    def test_private_dask_is_known_where_it_must_be(self) -> None:
        """Names that dask keeps to itself are used in the rooms for private names only."""
        users = {
            item.by
            for item in IMPORTS
            if re.match(r"dask\.(_|.*\._)|distributed\.(_|.*\._)", f"{item.target}.{item.name}")
        }
        elsewhere = {module for module in users if part_of(module) != "compat"}
        assert elsewhere <= {"xr_locality.execution.remote.compat"}

    def test_private_attributes_are_used_where_they_are_known(self) -> None:
        """Attributes that other projects keep to themselves are used in ``compat`` only."""
        wrong = [
            f"{module}:{line} {attribute}"
            for module, path in MODULES.items()
            if part_of(module) != "compat" and module != "xr_locality.execution.remote.compat"
            for line, attribute in private_attributes(ast.parse(path.read_text("utf-8")))
            if attribute not in PRIVATE_ELSEWHERE.get(module, ())
        ]
        assert not wrong

    @pytest.mark.parametrize(
        ("code", "found"),
        [
            ("client._handle_report_task()", ["_handle_report_task"]),
            ("getattr(group, '_inmemory', False)", ["_inmemory"]),
            ("class Own:\n    _kept: int = 0\ndef of(own): return own._kept", []),
            ("self._kept.__dict__", []),
        ],
    )
    def test_private_attributes_are_found(self, code: str, found: list[str]) -> None:
        """Attributes of others are found; those of classes of the same module are not."""
        assert [attribute for _, attribute in private_attributes(ast.parse(code))] == found
