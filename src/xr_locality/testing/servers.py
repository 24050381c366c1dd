"""A server process of an emulated region: spawned, awaited, killed."""

from __future__ import annotations

import http.client
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from xr_locality.errors import EndpointError
from xr_locality.regions.region import Region
from xr_locality.testing.hosts import LOOPBACK, Host

__all__ = ["Server", "ServerAnswer", "ask", "free_ports"]

# Ephemeral ports are drawn at random from some 28,000, so a port that was free
# is taken a moment later once in thousands of starts, not several times running.
_ATTEMPTS: Final = 4
_POLL_SECONDS: Final = 0.02
_ANSWER_SECONDS: Final = 5.0
_LOG_TAIL_LINES: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAnswer:
    """Answer of a server to one request."""

    status: int
    #: Header names in lower case.
    headers: Mapping[str, str]
    body: bytes


def ask(
    method: str,
    port: int,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    host: Host = LOOPBACK,
) -> ServerAnswer | None:
    """Send one request to a server of this machine, from its own host.

    Plain ``http.client``: no proxy that the environment names comes between, and no
    emulated network.

    Returns
    -------
    ServerAnswer or None
        None if no server listens, or if it hung up.
    """
    connection = http.client.HTTPConnection(host.address, port)
    try:
        connection.sock = host.connect(port, timeout=_ANSWER_SECONDS)
        connection.request(method, path, headers=dict(headers or {}))
        response = connection.getresponse()
        lower = {name.lower(): value for name, value in response.getheaders()}
        return ServerAnswer(status=response.status, headers=lower, body=response.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def free_ports(count: int, host: Host = LOOPBACK) -> list[int]:
    """Find ports that are free now, all different."""
    sockets = [host.listen() for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class Server(ABC):
    """One server process of an emulated region.

    Parameters
    ----------
    region : Region
        Whose server it is.
    directory : Path
        Where it keeps its log and its other files.
    environ : Mapping[str, str]
        The environment of the process.
    host : Host, optional
        Where it runs. By default this machine, for itself alone.
    """

    #: What the server is, in messages and in the names of its files.
    kind: ClassVar[str]

    def __init__(
        self,
        *,
        region: Region,
        directory: Path,
        environ: Mapping[str, str],
        host: Host = LOOPBACK,
    ) -> None:
        self.region = region
        #: Where it runs.
        self.host = host
        self._directory = directory
        self._environ = dict(environ)
        self._attempts = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log_path(self) -> Path:
        """File that the server's output goes to."""
        return self._directory / f"{self.kind.replace(' ', '-')}.log"

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process's id."""
        if self._process is None:
            raise EndpointError(f"The {self.kind} of {str(self.region)!r} was not started.")
        return self._process.pid

    def spawn(self) -> None:
        """Start the process, without waiting for it."""
        self._attempts += 1
        self._process = self._spawn()

    def wait_until_ready(self, *, deadline: float) -> None:
        """Wait until the server does its work.

        Parameters
        ----------
        deadline : float
            Until when, in seconds of ``time.monotonic``.

        Raises
        ------
        EndpointError
            If the process ended, or is not ready in time. The message shows the
            end of its log.
        """
        while not self._is_ready():
            if self._lost_its_port() and self._attempts < _ATTEMPTS:
                self._end()
                self.spawn()
            elif not self.is_alive:
                raise self._failure("ended before it was ready")
            elif time.monotonic() > deadline:
                raise self._failure("was not ready in time")
            time.sleep(_POLL_SECONDS)

    def kill(self) -> None:
        """Kill the process as ``kill -9`` does, and wait for its end. May be called twice."""
        self._end()

    def reap(self) -> None:
        """Wait for the end of the process, which was killed before."""
        if self._process is not None:
            self._process.wait()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
        self.reap()

    @abstractmethod
    def _spawn(self) -> subprocess.Popen[bytes]:
        """Start the process, each time on ports that were free."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Check whether this very server, not another on its port, does its work."""

    def _popen(
        self, command: Sequence[str], *, pass_fds: Sequence[int] = ()
    ) -> subprocess.Popen[bytes]:
        with self.log_path.open("wb") as log:
            # A session of its own, or the user's Ctrl-C would reach the server
            # before the testbed.
            return subprocess.Popen(
                self.host.command(command),
                cwd=self._directory,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=pass_fds,
            )

    def _log(self) -> str:
        return self.log_path.read_text("utf-8", errors="replace")

    def _lost_its_port(self) -> bool:
        return "address already in use" in self._log()

    def _failure(self, what: str) -> EndpointError:
        tail = "\n".join(self._log().splitlines()[-_LOG_TAIL_LINES:])
        return EndpointError(
            f"The {self.kind} of {str(self.region)!r} {what}. The end of its log:\n{tail}",
            region=str(self.region),
            log=tail,
        )

    def __repr__(self) -> str:
        state = "running" if self.is_alive else "not running"
        return f"<{type(self).__name__}: {self.region}; {state}>"
