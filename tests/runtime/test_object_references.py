"""References are the objects themselves in this process, and errors elsewhere."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest

from xr_locality.errors import ExecutionError
from xr_locality.runtime.object_references import LocalReference


def test_is_the_object_itself() -> None:
    """Unpickled in this process, a reference is what it refers to."""
    target: list[Any] = []
    assert pickle.loads(pickle.dumps(LocalReference(target))) is target


def test_is_an_error_when_it_is_gone() -> None:
    """A reference that nothing keeps refers to nothing."""
    pickled = pickle.dumps(LocalReference([]))
    with pytest.raises(ExecutionError, match="'list'"):
        pickle.loads(pickled)


def test_is_an_error_in_another_process() -> None:
    """Another process says where such tasks run."""
    reference = LocalReference([])
    code = f"import pickle; pickle.loads({pickle.dumps(reference)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert "exists only in the process" in done.stderr
