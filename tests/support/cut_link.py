"""A link to one address that can be cut, and mended again: a TCP proxy in a thread."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

#: Bytes forwarded at a time.
_PIECE_NBYTES = 2**16


class CutLink:
    """Forwards connections to an address until it is cut.

    Cut, it resets what is open and refuses what is new; stalled, it keeps everything
    open and moves nothing.
    """

    def __init__(self, host: str, port: int) -> None:
        self._far = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        #: Where to connect to.
        self.port: int = self._listener.getsockname()[1]
        #: How many connections were reset.
        self.n_reset = 0
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._flows = threading.Event()
        self._flows.set()
        self._lock = threading.Lock()
        self._accepting = self._start(self._accept)

    def cut(self) -> None:
        """Reset all connections, and refuse new ones."""
        _shut(self._listener)
        self._accepting.join(10)
        with self._lock:
            self.n_reset += len(self._open) // 2
            for each in self._open:
                _shut(each)

    @property
    def n_files(self) -> int:
        """How many files of this process it has open."""
        with self._lock:
            return len(self._open) + 1

    @property
    def n_threads(self) -> int:
        """How many threads of this process it has."""
        return sum(each.is_alive() for each in self._threads)

    def stall(self) -> None:
        """Move nothing any more."""
        self._flows.clear()

    def mend(self) -> None:
        """Work again."""
        self._flows.set()
        if self._listener.fileno() == -1 or not self._accepting.is_alive():
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self._accepting = self._start(self._accept)

    def close(self) -> None:
        """End for good."""
        self.cut()
        self._flows.set()
        for thread in self._threads:
            thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self, target: object, *args: socket.socket) -> threading.Thread:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        listener = self._listener
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                listener.close()
                return
            try:
                far = socket.create_connection(self._far)
            except OSError:
                near.close()
                continue
            with self._lock:
                self._open |= {near, far}
            self._start(self._forward, near, far)
            self._start(self._forward, far, near)

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while piece := source.recv(_PIECE_NBYTES):
                self._flows.wait()
                target.sendall(piece)
        except OSError:
            pass
        finally:
            for each in (source, target):
                _shut(each)
            with self._lock:
                if source in self._open:
                    self._open.discard(source)
                    source.close()


def _shut(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
