"""Files of dask's parquet fragments and of pyarrow's filesystems.

``FragmentWrapper`` of dask names no public attribute for its file, and pyarrow's S3
filesystem tells its endpoint only in its pickled form. Last verified with dask 2026.8 and
pyarrow 22.

Where a name is gone, an ``AttributeError`` is raised, and the search for sources reports the
fragment as a source of unknown region, with one warning.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["PackedFragment", "fragment_of", "packed_fragment", "s3_endpoint"]


class PackedFragment(NamedTuple):
    """The file of a fragment that is not opened yet."""

    filesystem: Any
    #: No text where the fragment is in memory.
    path: Any
    nbytes: int | None


def fragment_of(wrapper: Any) -> tuple[Any, int | None]:
    """Return the opened fragment of a ``FragmentWrapper``, None if there is none, and its size."""
    return wrapper._fragment, wrapper._file_size


def packed_fragment(wrapper: Any) -> PackedFragment:
    """Return the file of a ``FragmentWrapper`` that is not opened yet."""
    _, path, _, _, nbytes = wrapper._fragment_packed
    return PackedFragment(wrapper._filesystem, path, nbytes)


def s3_endpoint(fs: Any) -> str | None:
    """Return the endpoint URL of pyarrow's S3 filesystem; None for the provider's own.

    Its pickled form holds credentials too, which go no further.
    """
    _, (state, *_) = fs.__reduce__()
    host = state.get("endpoint_override") if isinstance(state, dict) else None
    return f"{state.get('scheme') or 'https'}://{host}" if host else None
