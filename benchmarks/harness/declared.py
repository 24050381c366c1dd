"""Stores of any size that hold metadata only, and make a chunk when it is read.

A declared array has a shape, chunks and a stored type, and no chunk is stored.
Listings state every chunk with the bytes that reading it would give; values depend
on names alone, so they are the same in every process.
"""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

import numpy as np
import zarr
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.storage import MemoryStore

__all__ = ["DeclaredStore", "DeclaredVariable", "declare"]

logger = logging.getLogger(__name__)

#: What no made value is; xarray turns integers with a fill value into floats.
_FILL: Final = -999


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredVariable:
    """A variable of which only the metadata exist.

    Attributes
    ----------
    dims : tuple of str
        Names of coordinates, whose lengths make its shape.
    chunks : tuple of int
        Values of a chunk along each dimension.
    dtype : str
        As which it is stored, uncompressed. The default is packed as much real
        output is: xarray makes 4-byte floats of these 2-byte integers, so that
        values are twice the stored bytes.
    attrs : Mapping
        Its attributes.
    """

    dims: tuple[str, ...]
    chunks: tuple[int, ...]
    dtype: str = "i2"
    attrs: Mapping[str, Any] = field(default_factory=dict)


def declare(
    name: str, *, coords: Mapping[str, Any], variables: Mapping[str, DeclaredVariable]
) -> DeclaredStore:
    """Make a store whose variables are declared and whose coordinates are real.

    Parameters
    ----------
    name : str
        Names the store in URLs, ``memory://<name>``, and seeds its values.
    coords : Mapping of str to (array, attributes)
        One-dimensional, each named as its dimension.
    variables : Mapping of str to DeclaredVariable
        The rest.

    Returns
    -------
    DeclaredStore
        Of zarr format 3; open it with ``xarray.open_zarr(store, chunks={})``.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> store = declare(
    ...     "model",
    ...     coords={"time": (np.arange(1_000_000), {})},
    ...     variables={"t": DeclaredVariable(dims=("time",), chunks=(100_000,))},
    ... )
    >>> lazy = xr.open_zarr(store, chunks={}, consolidated=False).t
    >>> lazy.nbytes, lazy.dtype, lazy.data.npartitions
    (4000000, dtype('float32'), 10)
    """
    contents = _Contents(name)
    store = DeclaredStore(contents)
    group = zarr.create_group(store)
    for coord, (values, attrs) in coords.items():
        group.create_array(coord, data=values, dimension_names=(coord,), attributes=dict(attrs))
    for variable, declared in variables.items():
        shape = tuple(len(coords[dim][0]) for dim in declared.dims)
        packed = np.dtype(declared.dtype).kind == "i"
        group.create_array(
            variable,
            shape=shape,
            chunks=declared.chunks,
            dtype=declared.dtype,
            filters=None,
            compressors=None,
            fill_value=_FILL if packed else None,
            dimension_names=declared.dims,
            attributes=dict(declared.attrs) | ({"_FillValue": _FILL} if packed else {}),
        )
        contents.chunked[variable] = _Chunks(
            counts=tuple(map(math.ceil, np.divide(shape, declared.chunks))),
            n_values=math.prod(declared.chunks),
            dtype=declared.dtype,
        )
    return store


class DeclaredStore(MemoryStore):
    """A zarr store that :func:`declare` made."""

    _store_dict: _Contents

    def __str__(self) -> str:
        return f"memory://{self._store_dict.name}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DeclaredStore) and self._store_dict is other._store_dict

    __hash__ = None  # type: ignore[assignment]  # As other stores of zarr's.

    def __dask_tokenize__(self) -> object:
        return type(self).__qualname__, self._store_dict.name, self._store_dict.chunked

    def objects(self) -> Iterator[tuple[str, bytes]]:
        """Make every object, one at a time: to store them somewhere."""
        for key in self._store_dict:
            yield key, self._store_dict[key].to_bytes()

    async def getsize(self, key: str) -> int:
        """Return the stored bytes of one object, without making it."""
        size = self._store_dict.size(key)
        if size is None:
            raise FileNotFoundError(key)
        return size

    async def getsize_prefix(self, prefix: str) -> int:
        """Return the stored bytes of all objects below a prefix, however many."""
        inside = prefix.rstrip("/") + "/" if prefix else ""
        held = sum(
            len(value) for key, value in self._store_dict.held.items() if key.startswith(inside)
        )
        return held + sum(
            chunks.nbytes * math.prod(chunks.counts)
            for path, chunks in self._store_dict.chunked.items()
            if f"{path}/".startswith(inside)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunks:
    """The chunks of one declared array."""

    counts: tuple[int, ...]
    n_values: int
    dtype: str

    @property
    def nbytes(self) -> int:
        """Bytes of one chunk; those at an edge are stored whole."""
        return self.n_values * np.dtype(self.dtype).itemsize

    def make(self, seed: int) -> Buffer:
        """Make a chunk: whole numbers below a thousand, or parts of one."""
        random = np.random.default_rng(seed)
        dtype = np.dtype(self.dtype)
        if dtype.kind == "f":
            values = random.random(self.n_values).astype(dtype)
        else:
            values = random.integers(0, 1000, self.n_values).astype(dtype)
        return default_buffer_prototype().buffer.from_bytes(values.tobytes())


class _Length:
    """Stands for an object in a listing: its length, and not what is in it."""

    def __init__(self, nbytes: int) -> None:
        self._nbytes = nbytes

    def __len__(self) -> int:
        return self._nbytes


class _Contents(MutableMapping[str, Any]):
    """What is in a declared store by key: objects that are held, and chunks made when read."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.held: dict[str, Any] = {}
        self.chunked: dict[str, _Chunks] = {}

    def __getitem__(self, key: str) -> Any:
        if key in self.held:
            return self.held[key]
        chunks = self._chunks(key)
        if chunks is None:
            raise KeyError(key)
        logger.debug("Made %s of %s", key, self.name)
        return chunks.make(zlib.crc32(f"{self.name}/{key}".encode()))

    def __setitem__(self, key: str, value: Any) -> None:
        self.held[key] = value

    def __delitem__(self, key: str) -> None:
        del self.held[key]

    def __contains__(self, key: object) -> bool:
        return self.size(str(key)) is not None

    def __iter__(self) -> Iterator[str]:
        yield from self.held
        for path, chunks in self.chunked.items():
            for place in product(*map(range, chunks.counts)):
                yield "/".join((path, "c", *map(str, place)))

    def __len__(self) -> int:
        return len(self.held) + sum(math.prod(each.counts) for each in self.chunked.values())

    def items(self) -> Any:
        """List keys with something of the right length: making each chunk would take for ever."""
        return ((key, _Length(self.size(key) or 0)) for key in self)

    def size(self, key: str) -> int | None:
        """Return the bytes of an object; None where there is none."""
        if key in self.held:
            return len(self.held[key])
        chunks = self._chunks(key)
        return None if chunks is None else chunks.nbytes

    def _chunks(self, key: str) -> _Chunks | None:
        """Find the array of which a key names a chunk that exists."""
        path, _, place = key.partition("/c/")
        chunks = self.chunked.get(path)
        if chunks is None:
            return None
        numbers = place.split("/")
        inside = len(numbers) == len(chunks.counts) and all(
            number.isdecimal() and int(number) < count
            for number, count in zip(numbers, chunks.counts, strict=True)
        )
        return chunks if inside else None
