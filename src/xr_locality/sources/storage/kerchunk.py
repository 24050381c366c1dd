"""Find the files that kerchunk's references lead to."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any, Final
from weakref import WeakKeyDictionary

from xr_locality.compat.fsspec import reference_grid, strip_protocol
from xr_locality.regions.store import Store
from xr_locality.sources.finder import Found, Walk
from xr_locality.sources.storage.fsspec import peel, store_at
from xr_locality.sources.storage.references import found_at, group_by_bucket

__all__ = ["KerchunkFinder"]

logger = logging.getLogger(__name__)

# Of references in parquet, files of one array that are looked at: the first, the
# last, and some between.
_MOST_RECORDS: Final = 8

_Files = dict[str, tuple[float, int | None]]


class KerchunkFinder:
    """Finds what lies behind fsspec's filesystem of references.

    References in JSON are in memory, and are counted exactly. Those in parquet
    are in files of their own, wherever they lie: of each array a few are read, as
    fsspec itself reads them with the first chunk, and only their column of paths.
    """

    name = "kerchunk"

    def __init__(self) -> None:
        # For each filesystem how many references it had, and its files by directory.
        self._files: WeakKeyDictionary[Any, tuple[int, dict[str, _Files]]] = WeakKeyDictionary()
        self._lazy: WeakKeyDictionary[Any, dict[str, _Files]] = WeakKeyDictionary()

    def find(self, obj: object, walk: Walk) -> Iterable[Found] | None:
        """Return where references lead; None for other objects."""
        if "fsspec.implementations.reference" not in sys.modules:
            return None
        from fsspec.implementations.reference import LazyReferenceMapper, ReferenceFileSystem

        fs, path = _fs_and_path(obj)
        if fs is None:
            return None
        fs, path = peel(fs, path)
        if not issubclass(type(fs), ReferenceFileSystem):
            return None
        path = path.removeprefix("reference://").strip("/")
        try:
            if isinstance(fs.references, LazyReferenceMapper):
                files = self._read(fs, path)
            else:
                files = self._count(fs, path)
        except Exception as err:  # noqa: BLE001  # Parquet readers and storage raise anything.
            logger.warning("The references of %s cannot be read: %s", path, type(err).__name__)
            return (Found.unknown(fs, detail="references that cannot be read"),)
        return found_at(
            group_by_bucket(files), lambda url: _locate(fs, url), kind="kerchunk references"
        )

    def _count(self, fs: Any, path: str) -> _Files:
        known = self._files.get(fs)
        if known is None or known[0] != len(fs.references):
            known = (len(fs.references), _by_directory(fs.references))
            self._files[fs] = known
        return _below(known[1], path)

    def _read(self, fs: Any, path: str) -> _Files:
        # By the filesystem: two mappings of references are compared by reading them all.
        mapper, known = fs.references, self._lazy.setdefault(fs, {})
        fields = [key.removesuffix("/.zarray") for key in mapper.zmetadata if "/.zarray" in key]
        merged: _Files = {}
        for field in fields:
            if path in ("", field) or field.startswith(f"{path}/"):
                if field not in known:
                    known[field] = _read_field(mapper, field)
                _add(merged, known[field])
        return merged


def _fs_and_path(obj: object) -> tuple[Any, str]:
    """Take apart whatever holds a filesystem and a path."""
    from fsspec import AbstractFileSystem
    from fsspec.mapping import FSMap

    below = ""
    if "zarr" in sys.modules:
        from zarr.storage import FsspecStore, StorePath

        if isinstance(obj, StorePath):
            below, obj = obj.path, obj.store
        if isinstance(obj, FsspecStore):
            return obj.fs, f"{obj.path}/{below}"
    if isinstance(obj, FSMap):
        return obj.fs, obj.root
    if issubclass(type(obj), AbstractFileSystem):
        return obj, ""
    state = getattr(obj, "__dict__", None)
    if not isinstance(state, dict) or not issubclass(type(state.get("fs")), AbstractFileSystem):
        return None, ""
    return state["fs"], str(state.get("path") or "")


def _by_directory(references: Mapping[str, Any]) -> dict[str, _Files]:
    """Count chunks and their bytes by the directory of their key, and by file."""
    directories: dict[str, _Files] = {}
    for key, value in references.items():
        if type(value) is not list:  # Metadata, and chunks that are in the references.
            continue
        files = directories.setdefault(key.rpartition("/")[0], {})
        count, nbytes = files.get(value[0], (0, 0))
        more = value[2] if len(value) > 2 else None
        files[value[0]] = (count + 1, None if nbytes is None or more is None else nbytes + more)
    return directories


def _below(directories: Mapping[str, _Files], path: str) -> _Files:
    merged: _Files = {}
    for directory, files in directories.items():
        if not path or directory == path or directory.startswith(f"{path}/"):
            _add(merged, files)
    return merged


def _add(merged: _Files, files: _Files) -> None:
    for url, (count, nbytes) in files.items():
        before, more = merged.get(url, (0, 0))
        total = None if nbytes is None or more is None else nbytes + more
        merged[url] = (before + count, total)


def _read_field(mapper: Any, field: str) -> _Files:
    """Read the paths of some of an array's records, which stand for the rest."""
    import pyarrow.parquet as pq

    n_chunks = math.prod(reference_grid(mapper, field))
    n_records = math.ceil(n_chunks / mapper.record_size)
    step = max(1, math.ceil((n_records - 1) / (_MOST_RECORDS - 1)))
    records = sorted({*range(0, n_records, step), n_records - 1})
    files: _Files = {}
    for record in records:
        try:
            data = mapper.fs.cat_file(mapper.url.format(field=field, record=record))
        except FileNotFoundError:  # A record of no chunk but those that were left out.
            continue
        table = pq.read_table(BytesIO(data), columns=["path", "size"])
        table = table.slice(0, n_chunks - record * mapper.record_size)
        table = table.set_column(0, "path", table["path"].cast("string"))
        sums = table.group_by("path").aggregate([("size", "count"), ("size", "sum")])
        for row in sums.to_pylist():
            if row["path"]:
                # Whole files have no size there.
                nbytes = row["size_sum"] or None
                _add(files, {str(row["path"]): (row["size_count"], nbytes)})
    scale = n_records / len(records)
    return {
        url: (count * scale, None if nbytes is None else round(nbytes * scale))
        for url, (count, nbytes) in files.items()
    }


def _locate(fs: Any, url: str) -> Store:
    protocol = url.partition("://")[0] if "://" in url else None
    inner = fs.fss.get(protocol) or (None if protocol else fs.fss.get(None))
    if inner is None:
        return Store.from_url(url)
    if protocol not in ("http", "https"):
        # A wrapper that makes a filesystem asynchronous knows no protocols in older fsspec.
        bare, _ = peel(inner, url)
        url = strip_protocol(bare, url)
    return store_at(inner, url)
