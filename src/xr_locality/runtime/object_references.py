"""References to objects of this process, which cannot or must not be copied.

A reference that is pickled and unpickled in this process is the object itself. Elsewhere
it is an error: a copy would be written to and lost.
"""

from __future__ import annotations

import secrets
from itertools import count
from typing import Any, Final
from weakref import WeakValueDictionary

from xr_locality.errors import ExecutionError

__all__ = ["LocalReference"]

#: Known to no other process, nor to a fork of this one that was sent a reference later.
_PROCESS: Final = secrets.token_hex(8)
_NUMBERS: Final = count()
_REFERENCES: Final[WeakValueDictionary[int, LocalReference]] = WeakValueDictionary()


class LocalReference:
    """A reference to an object of this process, valid for as long as itself is kept.

    Parameters
    ----------
    obj : object
        Any; it is kept alive.

    Examples
    --------
    >>> import pickle
    >>> target = bytearray(3)
    >>> reference = LocalReference(target)
    >>> pickle.loads(pickle.dumps(reference)) is target
    True
    """

    __slots__ = ("__weakref__", "_number", "obj")

    def __init__(self, obj: Any) -> None:
        self.obj = obj
        self._number = next(_NUMBERS)
        _REFERENCES[self._number] = self

    def __repr__(self) -> str:
        return f"<LocalReference to {type(self.obj).__name__}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _resolve, (_PROCESS, self._number, type(self.obj).__name__)


def _resolve(process: str, number: int, kind: str) -> Any:
    reference = _REFERENCES.get(number) if process == _PROCESS else None
    if reference is None:
        raise ExecutionError(
            f"A task holds an object of type {kind!r} that exists only in the process which "
            "started the computation, or the computation has ended. Such tasks run in that "
            "process, in region 'local' with its embedded cluster."
        )
    return reference.obj
