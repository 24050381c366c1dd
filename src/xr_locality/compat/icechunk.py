"""Storage and chunk kinds of Icechunk's sessions.

A session offers no public way to its storage (``Repository.storage`` is public, but no
session leads to its repository), so that is read from the bytes that a session is pickled
to. The options of a virtual chunk container are the field ``_0`` of a variant of a Rust
enumeration, which has no other name. Last verified with Icechunk 1.1.21 and 2.3.0.

Where a name or the layout is gone, an ``AttributeError`` is raised, and the search for
sources reports the repository as a source of unknown region, with one warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["container_options", "is_virtual", "storage_fields"]


def storage_fields(session: Any) -> Mapping[str, Any]:
    """Return the description of the storage that a session reads.

    Parameters
    ----------
    session : icechunk.Session
        Any.

    Returns
    -------
    Mapping
        With ``type``, and ``bucket`` or ``backend``; it may hold credentials.

    Raises
    ------
    AttributeError
        If this version of Icechunk lays its sessions out in another way.
    """
    import msgpack

    state = msgpack.unpackb(session._session.as_bytes(), raw=False, strict_map_key=False)
    for part in state if isinstance(state, list) else ():
        if isinstance(part, dict) and (
            part.get("type") == "S3Storage" or isinstance(part.get("backend"), dict)
        ):
            return part
    raise AttributeError("a session's bytes name no storage where they used to")


def container_options(config: object) -> object:
    """Return the options in an ``ObjectStoreConfig``; other objects as they are."""
    return getattr(config, "_0", config)


def is_virtual(kind: object) -> bool:
    """Whether a ``ChunkType`` is that of virtual chunks: Icechunk 2 spells it in lower case."""
    from icechunk import ChunkType

    spellings = (getattr(ChunkType, name, None) for name in ("VIRTUAL", "virtual"))
    return any(kind == spelling for spelling in spellings if spelling is not None)
