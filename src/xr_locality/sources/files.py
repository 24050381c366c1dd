"""Find the files that Python itself has open."""

from __future__ import annotations

import io
from collections.abc import Iterable

from xr_locality.regions.store import Store
from xr_locality.sources.base import Found, Walk

__all__ = ["FileFinder"]


class FileFinder:
    """Finds open files of this machine."""

    name = "files"

    def find(self, obj: object, walk: Walk) -> Iterable[Found] | None:
        """Return where an open file lies; None for other objects."""
        if not isinstance(
            obj, io.FileIO | io.BufferedReader | io.BufferedRandom | io.TextIOWrapper
        ):
            return None
        if not isinstance(obj.name, str):
            # Pipes and sockets are named by number, and lie nowhere.
            return ()
        return (Found.at(Store.at("file", obj.name), detail="file"),)
