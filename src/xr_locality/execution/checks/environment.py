"""Packages that a graph needs where it is sent, and versions that understand each other."""

from __future__ import annotations

import importlib.metadata
import logging
import pickletools
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Any, Final

import cloudpickle
from dask.highlevelgraph import Layer

from xr_locality.graph.layers import embedded_objects, holds_futures

__all__ = ["COMPARED", "Difference", "compare", "installed", "needed_by"]

logger = logging.getLogger(__name__)

#: Packages whose versions are compared, and how many parts of a version must agree for graphs
#: made here to run there. Python's bytecode is sent along and changes with its minor version;
#: dask and distributed promise nothing between releases; the classes of the others move with
#: major versions. A difference further back is worth a warning.
COMPARED: Final[Mapping[str, int]] = MappingProxyType(
    {
        "python": 2,
        "dask": 2,
        "distributed": 2,
        "cloudpickle": 1,
        "numpy": 1,
        "pandas": 1,
        "zarr": 1,
        "numcodecs": 0,
        "xarray": 0,
    }
)

#: What every graph needs, whatever it computes.
_ALWAYS: Final = frozenset({"python", "dask", "distributed", "cloudpickle", "numpy"})

#: What any worker and scheduler of distributed has, or it would not run.
_THERE: Final = frozenset({"__main__", "cloudpickle", "dask", "distributed", "tlz", "toolz"})

#: What else is at work where these are.
_BRING: Final[Mapping[str, str]] = MappingProxyType({"zarr": "numcodecs"})

#: Tasks of a layer that are looked at: they are like one another.
_SAMPLE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A package whose version elsewhere is not the one here."""

    package: str
    here: str
    there: str
    #: Whether graphs made here cannot be counted on to run there.
    serious: bool


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Look up the versions of packages in this process; those not known are left out."""
    found: dict[str, str] = {}
    for package in packages:
        if package == "python":
            found[package] = platform.python_version()
            continue
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def compare(
    here: Mapping[str, str], there: Mapping[str, str | None], needed: Iterable[str]
) -> list[Difference]:
    """Compare versions, as far as both sides know them.

    Parameters
    ----------
    here, there : mapping of str to str
        Versions by package.
    needed : iterable of str
        Packages that the graph needs; of others a difference does not matter.

    Returns
    -------
    list of Difference
        In the order of :data:`COMPARED`.
    """
    wanted = _ALWAYS.union(needed)
    differences = []
    for package, parts in COMPARED.items():
        ours, theirs = here.get(package), there.get(package)
        if package not in wanted or not ours or not theirs:
            continue
        if package == "python":
            # distributed writes "3.13.1.final.0".
            theirs = ".".join(theirs.split(".")[:3])
        if ours != theirs:
            serious = ours.split(".")[:parts] != theirs.split(".")[:parts]
            differences.append(
                Difference(package=package, here=ours, there=theirs, serious=serious)
            )
    return differences


def needed_by(layers: Iterable[Layer]) -> frozenset[str]:
    """Name the packages that unpickling some layers imports, Python's own left out.

    What is pickled by value, such as functions of a notebook, is not among them, but what
    such functions refer to is.

    Parameters
    ----------
    layers : iterable of Layer
        Of each a few tasks are pickled. What cannot be pickled is left to be found out when
        it is sent.
    """
    found: set[str] = set()
    for layer in layers:
        if holds_futures(layer):
            continue
        sample = list(islice(embedded_objects(layer), _SAMPLE))
        try:
            # Out of band, and dropped: arrays are not copied.
            pickled = cloudpickle.dumps(sample, protocol=5, buffer_callback=_drop)
        except Exception as err:  # noqa: BLE001 - objects may raise anything
            logger.debug("Not looked for packages: a layer's tasks raise %s", type(err).__name__)
            continue
        found |= _modules(pickled)
    packages = {name.partition(".")[0] for name in found}
    packages |= {_BRING[name] for name in packages & _BRING.keys()}
    return frozenset(packages - sys.stdlib_module_names - _THERE)


def _drop(buffer: Any) -> bool:
    return False


def _modules(pickled: bytes) -> set[str]:
    """Name the modules that a pickle refers to, without unpickling it."""
    modules: set[str] = set()
    # What was put on the stack, as far as it is text, and what the memo holds of that.
    pushed: list[str | None] = [None, None]
    memo: list[str | None] = []
    imports = False
    for opcode, argument, _ in pickletools.genops(pickled):
        name = opcode.name
        if name in _TEXT:
            pushed = [pushed[-1], argument]
        elif name == "MEMOIZE":
            memo.append(pushed[-1])
        elif name in _RECALL:
            pushed = [pushed[-1], memo[int(argument or 0)]]
        elif name == "STACK_GLOBAL":
            module, attribute = pushed
            modules.add(module or "")
            imports = attribute == "subimport"
            pushed = [None, None]
        elif name not in _QUIET:
            pushed = [pushed[-1], None]
        if imports and name in _TEXT | _RECALL:
            # cloudpickle's way to refer to a module itself.
            modules.add(pushed[-1] or "")
            imports = False
    return modules - {""}


_TEXT: Final = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"})
_RECALL: Final = frozenset({"BINGET", "LONG_BINGET"})
#: What puts nothing on the stack.
_QUIET: Final = frozenset({"PROTO", "FRAME", "STOP"})
