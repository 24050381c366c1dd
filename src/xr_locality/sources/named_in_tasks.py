"""Stores and files that tasks name: URLs and paths among their arguments.

A task that is given ``"s3://bucket/a.npy"`` or the path of a file reads or writes there,
whatever its function is. A link, such as one in an attribute, may be no more than text: it is
found as well, and marked, so that one of unknown region can be left out.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from xr_locality.errors import SourceError
from xr_locality.regions.store import Store
from xr_locality.sources.finder import Found
from xr_locality.sources.storage.files import local_file
from xr_locality.sources.storage.raster import gdal_store

__all__ = ["array_texts", "find_named", "may_name"]

# As fsspec writes them, with its wrappers in front.
_URL: Final = re.compile(
    r"(?:[a-z0-9]+::)*(?P<scheme>s3[an]?|gcs|gs|abfss?|az|adl|wasbs?|oci|oss|r2|swift|hf|github"
    r"|https?|file)://\S+",
    re.IGNORECASE,
)
_LONGEST: Final = 4096
# Tables of scenes are small; larger arrays are blocks of data.
_MOST_ENTRIES: Final = 10_000


def may_name(text: str) -> bool:
    """Whether a text may name a store or a file: cheap, for a first look at many texts."""
    return ("/" in text or "." in text or os.sep in text) and len(text) <= _LONGEST


def find_named(text: str) -> tuple[Found, ...]:
    """Find the store or the file that a text names.

    Parameters
    ----------
    text : str
        An argument of a task.

    Returns
    -------
    tuple of Found
        Empty if it is no URL of storage, no path of GDAL's storage (``/vsis3/…``), and no
        path of a file or folder that exists or that can be written.
    """
    if not may_name(text):
        return ()
    try:
        if text.startswith("/vsi"):
            store = gdal_store(text)
        elif (match := _URL.fullmatch(text)) is None:
            return _file(text)
        elif match["scheme"].lower() == "file":
            return _file(Store.from_url(text).path, rooted=True)
        else:
            store = Store.from_url(text)
    except (SourceError, KeyError):  # Text that only begins like a URL names nothing.
        return ()
    return () if store is None else (_named(Found.at(store)),)


def array_texts(array: np.ndarray[Any, Any]) -> list[object]:
    """List the texts in a small structured array, such as a table of scenes."""
    fields = array.dtype.fields
    if not fields or array.size > _MOST_ENTRIES:
        return []
    return [
        entry
        for name, (dtype, *_) in fields.items()
        if dtype.kind in "UO"
        for entry in array[name].ravel().tolist()
        if isinstance(entry, str)
    ]


def _file(text: str, *, rooted: bool = False) -> tuple[Found, ...]:
    path = Path(f"/{text.lstrip('/')}" if rooted and os.name != "nt" else text)
    # "." or "/" is a separator far more often than a folder.
    if not path.name or not any(map(str.isalnum, path.name)):
        return ()
    try:
        # A path that does not exist yet may be written.
        there = path.exists() or (path.is_absolute() and path.suffix and path.parent.is_dir())
    except (OSError, ValueError):
        return ()
    return (_named(local_file(str(path), text)),) if there else ()


def _named(found: Found) -> Found:
    """Mark what is found, and group the files of a folder."""
    store = found.store
    folder, _, name = store.path.rpartition("/")
    group = replace(store, path=folder) if folder and "." in name else store
    return replace(found, group=group, detail="named in a task", named=True)
