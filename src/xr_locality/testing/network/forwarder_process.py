"""The process that forwards an emulated network's packets, and its requests."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from xr_locality.errors import EndpointError
from xr_locality.testing.network.forward import MESSAGE_NBYTES

__all__ = ["ForwarderProcess"]

_SCRIPT: Final = Path(__file__).with_name("forward.py")
_ANSWER_SECONDS: Final = 20.0
_END_SECONDS: Final = 20.0


class ForwarderProcess:
    """A running forwarder. It ends when it is closed, or when this process has gone.

    Parameters
    ----------
    network : str
        The first three numbers of its addresses, such as ``10.64.3``.
    devices : sequence of int
        Open files of the regions' devices.
    namespaces : sequence of int
        Inodes of the network namespaces whose processes it kills at its end.
    """

    def __init__(self, network: str, *, devices: Sequence[int], namespaces: Sequence[int]) -> None:
        self._control, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(_ANSWER_SECONDS)
        with its:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-P", str(_SCRIPT)),
                    *("--control", str(its.fileno())),
                    *("--network", network),
                    *("--namespaces", *map(str, namespaces)),
                    *("--devices", *map(str, devices)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=[its.fileno(), *devices],
            )

    @property
    def is_running(self) -> bool:
        """Whether packets are forwarded."""
        return self.process.poll() is None

    def ask(self, what: str, **arguments: Any) -> Any:
        """Ask for something, and wait for the answer. For one thread at a time.

        Raises
        ------
        EndpointError
            If it has ended or does not answer. It is killed, and the message shows its output.
        """
        try:
            self._control.send(json.dumps({"do": what, **arguments}).encode())
            answer = self._control.recv(MESSAGE_NBYTES)
        except OSError as error:
            raise self._failure() from error
        if not answer:
            raise self._failure()
        return json.loads(answer)

    def close(self) -> None:
        """Close its control socket, and wait until it has cleaned up and ended."""
        self._control.close()
        with self.process as process:
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()

    def _failure(self) -> EndpointError:
        self.process.kill()
        _, printed = self.process.communicate()
        tail = printed.decode(errors="replace")
        return EndpointError(f"The emulated network's forwarder ended or hangs.\n{tail}", log=tail)
