"""The host of a testbed's server: this machine, or one of its network namespaces."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from xr_locality.testing.namespaces import call_in

__all__ = ["LOOPBACK", "Host"]

_BACKLOG: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """An address, and the network namespace that has it."""

    address: str
    #: A file that holds the namespace; None for this process's own.
    namespace: int | None = None

    def listen(self) -> socket.socket:
        """Listen on a port that is free."""
        return call_in(self.namespace, self._listen)

    def connect(self, port: int, *, timeout: float) -> socket.socket:
        """Connect from this very host, so that no emulated link is between."""
        return call_in(
            self.namespace, lambda: socket.create_connection((self.address, port), timeout)
        )

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs another one here."""
        if self.namespace is None:
            return list(command)
        # Replaces itself, so the process is the command's.
        return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self.namespace}", "--", *command]

    def _listen(self) -> socket.socket:
        return socket.create_server((self.address, 0), backlog=_BACKLOG)


#: This machine, for itself alone.
LOOPBACK: Final = Host(address="127.0.0.1")
