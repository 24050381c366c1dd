"""Interpreters for tox: the newest of this machine runs everything.

tox loads this file by itself. No setting of its own prefers the newest Python of a
machine, and pyenv's shims stand for Pythons that do not start.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

#: What the classifiers of `pyproject.toml` name, newest first.
VERSIONS = ("3.14", "3.13", "3.12", "3.11")


def pyenv_folders() -> list[Path]:
    """List the folders of the interpreters that pyenv has installed."""
    root = os.environ.get("PYENV_ROOT")
    if root is None and (pyenv := shutil.which("pyenv")) is not None:
        done = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False)
        root = done.stdout.strip()
    return sorted(Path(root).glob("versions/3.*/bin")) if root else []


def starts(python: Path, version: str) -> bool:
    """Report whether an interpreter is there, starts, and is of a version."""
    if not python.is_file():
        return False
    code = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.strip() == version


def find_versions(path: str) -> list[str]:
    """List the versions of Python that start from a search path, newest first."""
    folders = [Path(folder) for folder in path.split(os.pathsep) if folder]
    return [
        version
        for version in VERSIONS
        if any(starts(folder / f"python{version}", version) for folder in folders)
    ]


os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), *map(str, pyenv_folders())])
_found = find_versions(os.environ["PATH"])
# `python3` is the interpreter that runs tox, whatever it is.
os.environ["NEWEST_PYTHON"] = f"python{_found[0]}" if _found else "python3"
