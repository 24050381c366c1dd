"""Small files that outlive a process, and the user's directories for them."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["cache_directory", "state_directory", "write_whole"]

_NAME: Final = "xr-locality"

#: Below the user's home, by platform; elsewhere as the XDG base directories have it.
_CACHE_OF_PLATFORM: Final = {"darwin": ("Library", "Caches")}
_STATE_OF_PLATFORM: Final = {"darwin": ("Library", "Application Support")}


def cache_directory() -> Path | None:
    """Return where this user's programs keep what they can find out again.

    Returns
    -------
    Path or None
        ``$XDG_CACHE_HOME/xr-locality`` where that is set, else what the platform's rules
        say; None for a user without a home.
    """
    return _directory(
        "XDG_CACHE_HOME", windows="Cache", platforms=_CACHE_OF_PLATFORM, default=(".cache",)
    )


def state_directory() -> Path | None:
    """Return where this user's programs keep what must outlive them.

    Returns
    -------
    Path or None
        ``$XDG_STATE_HOME/xr-locality`` where that is set, else what the platform's rules
        say; None for a user without a home.
    """
    return _directory(
        "XDG_STATE_HOME", windows="State", platforms=_STATE_OF_PLATFORM, default=(".local", "state")
    )


def write_whole(path: Path, text: str) -> None:
    """Write a file that only this user may read, as a whole or not at all.

    Parameters
    ----------
    path : Path
        The file, which is replaced; its directory is there.
    text : str
        What it will hold.

    Raises
    ------
    OSError
        If it cannot be written; what was there stays.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".new")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _directory(
    variable: str,
    *,
    windows: str,
    platforms: Mapping[str, tuple[str, ...]],
    default: tuple[str, ...],
) -> Path | None:
    given = os.environ.get(variable, "")
    # By its own rule a path that is not absolute counts as none.
    if given and Path(given).is_absolute():
        return Path(given) / _NAME
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) / _NAME / windows if local else None
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home.joinpath(*platforms.get(sys.platform, default), _NAME)
