from __future__ import annotations

import subprocess
import sys

import pytest

from xr_locality.compat.private_names import private_name
from xr_locality.errors import LocalityError, MissingDependencyError

#: Takes a name away while the package is imported, as if dask had renamed it, and plans.
PROGRAM = """
import importlib, sys
import dask, dask.array as da, dask.dataframe, distributed
module = importlib.import_module(sys.argv[1])
real = getattr(module, sys.argv[2])
delattr(module, sys.argv[2])
import xr_locality as xl
setattr(module, sys.argv[2], real)
from xr_locality.errors import LocalityError
try:
    array = xl.tag(da.ones(4, chunks=2), "aws:us-east-1") + 1
    xl.plan(array, endpoints={"aws:us-east-1": None})
    with xl.routed(endpoints={"aws:us-east-1": None}):
        dask.compute(array)
except LocalityError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("dask._task_spec", "Task"),
        ("dask._task_spec", "GraphNode"),
        ("dask._task_spec", "Alias"),
        ("dask._expr", "Expr"),
        ("dask._expr", "HLGExpr"),
        ("dask.array.core", "load_store_chunk"),
    ],
)
def test_renamed_name_of_dask_is_named_to_the_user(module: str, name: str) -> None:
    """The package is imported without the name; the first use says which dask to install."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, module, name],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert f"has no {module}.{name}" in done.stdout
    assert "Install dask 2026.8.0" in done.stdout


def test_name_that_is_there_is_the_object_itself() -> None:
    """Nothing stands between the caller and the other project's object."""
    assert private_name("operator", "add", verified="3.11") is __import__("operator").add


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda lost: lost(1), id="call"),
        pytest.param(lambda lost: isinstance(1, lost), id="isinstance"),
        pytest.param(lambda lost: issubclass(int, lost), id="issubclass"),
        pytest.param(lambda lost: lost.attribute, id="attribute"),
    ],
)
def test_stand_in_refuses_each_use(use: object) -> None:
    """A stand-in can be put into tables, but not used."""
    lost = private_name("dask.core", "no_such_name", verified="1.0")
    assert {lost: 1}[lost] == 1
    with pytest.raises(MissingDependencyError, match=r"no dask.core.no_such_name.*dask 1\.0"):
        use(lost)  # type: ignore[operator]


def test_project_that_is_not_installed() -> None:
    """A project that is not there at all is named as missing, not as renamed."""
    lost = private_name("no_such_project.inner", "name", verified="1.0")
    with pytest.raises(LocalityError, match="no_such_project is not installed"):
        lost()
