"""Base class of what starts once, and ends with its ``with`` block or its process."""

from __future__ import annotations

import atexit
import os
from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar, Self

from xr_locality.errors import EndpointError

__all__ = ["StartedOnce"]


class StartedOnce(ABC):
    """Starts once and closes at the latest when the interpreter ends.

    A forked child leaves what its parent has started alone.
    """

    #: What it is, in messages.
    _kind: ClassVar[str]

    #: Id of the process that started it; 0 before.
    _owner = 0

    def start(self) -> None:
        """Start, and wait until all is ready.

        Raises
        ------
        EndpointError
            If that fails, and then nothing is left running, or if it was started before.
        """
        if self._owner:
            raise EndpointError(f"The {self._kind} was started before. Make a new one.")
        self._owner = os.getpid()
        atexit.register(self.close)
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End all that was started. May be called twice."""
        if os.getpid() != self._owner:
            return
        self._close()
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def _start(self) -> None:
        """Start; what was started when this raises is closed."""

    @abstractmethod
    def _close(self) -> None:
        """End what was started, however much of it; may be called twice."""
