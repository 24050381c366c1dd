"""HTTP exchanges with servers that are not trusted, in bounded time.

A server may hang, send a byte a minute, redirect or talk nonsense. So an exchange
follows no redirect, reads little, and is broken off from outside when its time is
up: the time limits of sockets hold for one system call, not for a whole answer.
"""

from __future__ import annotations

import http.client
import ipaddress
import logging
import queue
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Generic, TypeVar
from urllib.parse import SplitResult, urlsplit

__all__ = [
    "HttpReply",
    "ProbeCall",
    "ProbeConnection",
    "UnreachableError",
    "canonical_name",
    "in_parallel",
    "is_loopback",
]

logger = logging.getLogger(__name__)

_USER_AGENT: Final = "xr-locality"
_MOST_BODY_NBYTES: Final = 65_536
_MOST_THREADS: Final = 32
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

T = TypeVar("T")


class UnreachableError(Exception):
    """Nobody answered, or not so that it could be understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """What a server answered."""

    status: int
    #: Names in lower case.
    headers: Mapping[str, str]
    body: bytes


class ProbeConnection:
    """Requests made one after the other, which another thread may break off.

    Parameters
    ----------
    deadline : float
        Until when, in seconds of ``time.monotonic``.
    """

    def __init__(self, *, deadline: float) -> None:
        self._deadline = deadline
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._broken_off = False

    def send(self, method: str, url: str, headers: Mapping[str, str] | None = None) -> HttpReply:
        """Send one request, and read the answer.

        Parameters
        ----------
        method : str
            ``"HEAD"`` or ``"GET"``.
        url : str
            Of scheme ``http`` or ``https``, without anything secret.
        headers : Mapping, optional
            More of them than the host's name.

        Returns
        -------
        HttpReply
            A redirect is an answer like any other.

        Raises
        ------
        UnreachableError
            If nobody answers in time, or whoever does speaks no HTTP.
        """
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise UnreachableError("its address is no URL of http or https")
        try:
            return self._send(method, parts, headers or {})
        except TimeoutError as err:
            raise UnreachableError("it did not answer in time") from err
        except (OSError, http.client.HTTPException, ValueError) as err:
            if self._broken_off:
                raise UnreachableError("it did not answer in time") from err
            raise UnreachableError(f"it could not be asked ({type(err).__name__})") from err
        finally:
            self._close()

    def _send(self, method: str, parts: SplitResult, headers: Mapping[str, str]) -> HttpReply:
        secure = parts.scheme == "https"
        host = str(parts.hostname)
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        self._hold(socket.create_connection((host, port), timeout=self._remaining()))
        _refuse_link_local(self._held())
        if secure:
            raw = self._held()
            raw.settimeout(self._remaining())
            # Held before it shakes hands, so that it can be broken off while it does.
            wrapped = _context().wrap_socket(
                raw, server_hostname=host, do_handshake_on_connect=False
            )
            self._hold(wrapped)
            wrapped.do_handshake()
        self._held().settimeout(self._remaining())
        # Connected already; its twin for HTTPS would read all certificates once more.
        connection = http.client.HTTPConnection(host, port)
        connection.sock = self._held()
        target = parts.path or "/"
        if parts.query:
            target = f"{target}?{parts.query}"
        connection.request(
            method, target, headers={"Host": parts.netloc, "User-Agent": _USER_AGENT, **headers}
        )
        response = connection.getresponse()
        lower = {name.lower(): value for name, value in response.getheaders()}
        body = response.read(_MOST_BODY_NBYTES)
        return HttpReply(status=response.status, headers=lower, body=body)

    def _remaining(self) -> float:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        return remaining

    def _hold(self, held: socket.socket) -> None:
        with self._lock:
            self._socket = held
            if self._broken_off:
                _shut_down(held)

    def _held(self) -> socket.socket:
        assert self._socket is not None
        return self._socket

    def break_off(self) -> None:
        """End what is under way; whoever waits for it gets an error."""
        with self._lock:
            self._broken_off = True
            if self._socket is not None:
                _shut_down(self._socket)

    def _close(self) -> None:
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeCall(Generic[T]):
    """Something to find out by exchanges with one server."""

    #: Whom to ask: when one call to it runs out of time, those in the queue are not begun.
    server: str
    #: Asks, and answers.
    run: Callable[[ProbeConnection], T]
    #: What to answer if time runs out.
    late: T


def in_parallel(calls: Iterable[ProbeCall[T]], *, seconds: float) -> list[T]:
    """Make some calls in threads of their own, each in bounded time.

    Parameters
    ----------
    calls : iterable of ProbeCall
        One that raises is answered as if it were late.
    seconds : float
        How long each may take. A thread that does not end in time, since it waits
        for the name of a host, say, is left behind; it keeps no program from ending.

    Returns
    -------
    list
        ProbeCache in the order of the calls.
    """
    listed = list(calls)
    answers = [call.late for call in listed]
    waiting = deque(enumerate(listed))
    running: dict[int, tuple[ProbeConnection, float]] = {}
    finished: queue.SimpleQueue[tuple[int, T]] = queue.SimpleQueue()
    silent: set[str] = set()

    def work(index: int, call: ProbeCall[T], exchange: ProbeConnection) -> None:
        answer = call.late
        try:
            answer = call.run(exchange)
        except Exception:  # Whatever a stranger says must not end a plan.
            logger.warning("Asking %s failed", call.server, exc_info=True)
        finally:
            finished.put((index, answer))

    while waiting or running:
        while waiting and len(running) < _MOST_THREADS:
            index, call = waiting.popleft()
            if call.server in silent:
                continue
            deadline = time.monotonic() + seconds
            exchange = ProbeConnection(deadline=deadline)
            running[index] = exchange, deadline
            threading.Thread(
                target=work, args=(index, call, exchange), name="xr-locality-probe", daemon=True
            ).start()
        if not running:
            break
        first = min(deadline for _, deadline in running.values())
        try:
            index, answer = finished.get(timeout=max(0.0, first - time.monotonic()))
        except queue.Empty:
            for late in [n for n, (_, end) in running.items() if end <= time.monotonic()]:
                running.pop(late)[0].break_off()
                silent.add(listed[late].server)
            continue
        if running.pop(index, None) is not None:
            answers[index] = answer
    return answers


def canonical_name(host: str) -> str:
    """Return the name that DNS calls a host by; it may take as long as it likes.

    Raises
    ------
    OSError
        If there is no such host.
    """
    return socket.getaddrinfo(host, 443, flags=socket.AI_CANONNAME)[0][3]


def is_loopback(server: str) -> bool:
    """Say whether a server, ``host`` or ``host:port``, is by its name on this machine."""
    host = (urlsplit(f"//{server}").hostname or "").lower()
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()


def _refuse_link_local(connected: socket.socket) -> None:
    """Send nothing to a machine's own network: clouds hand out credentials there."""
    address = str(connected.getpeername()[0]).partition("%")[0]
    if ipaddress.ip_address(address).is_link_local:
        raise UnreachableError("its address is link-local, where no storage is")


def _shut_down(held: socket.socket) -> None:
    try:
        # Not the method of a TLS socket, which takes its state from under a reader.
        socket.socket.shutdown(held, socket.SHUT_RDWR)
    except OSError:
        return
