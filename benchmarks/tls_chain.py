"""What does this machine move through TLS twice and a proxy, without dask?

Values that cross between two gateways' clusters are encrypted by a worker, decrypted and
encrypted again by its scheduler, passed on by the gateway's proxy, and decrypted by the
worker that takes them. Here four processes do nothing but that, on blocking sockets: as
little as can be done for each byte on this way.
"""

from __future__ import annotations

import pickle
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from distributed.security import Security

__all__ = ["tls_chain"]

_REQUEST: Final = struct.Struct("!QQ")
_WRITE_NBYTES: Final = 4 * 2**20
_BUFFER_NBYTES: Final = 2 * 2**20
_PROXY_NBYTES: Final = 2**18


@contextmanager
def tls_chain() -> Iterator[Callable[[tuple[int, int]], None]]:
    """Start the processes, and yield a function that sends values through them."""
    security = Security.temporary()
    port = 0
    with ExitStack() as stack:
        for part in _PARTS:
            # Not by multiprocessing, which would run asv's main module again.
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", __name__],
                    cwd=Path(__file__).parents[1],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
            stack.callback(process.kill)
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(pickle.dumps((part, security, port)))
            process.stdin.close()
            port = int(process.stdout.readline())
        with _dialed(security, port) as chain:

            def take(work: tuple[int, int]) -> None:
                n, nbytes = work
                chain.sendall(_REQUEST.pack(n, nbytes))
                for _ in range(n):
                    _fill(chain, np.empty(nbytes, "u1").data)

            yield take


def _give(security: Security, _: int) -> None:
    with _accepted(security) as reader:
        while request := reader.recv(_REQUEST.size):
            n, nbytes = _REQUEST.unpack(request)
            for _ in range(n):
                # As the benchmark's values: of memory that was never written.
                value = np.zeros(nbytes, "u1").data
                for start in range(0, nbytes, _WRITE_NBYTES):
                    reader.sendall(value[start : start + _WRITE_NBYTES])


def _pass_on(security: Security, port: int) -> None:
    with _dialed(security, port) as source, _accepted(security) as reader:
        buffer = memoryview(bytearray(_BUFFER_NBYTES))
        while request := reader.recv(_REQUEST.size):
            source.sendall(request)
            n, nbytes = _REQUEST.unpack(request)
            left = n * nbytes
            while left:
                part = buffer[: min(left, _BUFFER_NBYTES)]
                _fill(source, part)
                reader.sendall(part)
                left -= len(part)


def _proxy(_: Security, port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        _tell_port(server)
        reader, _address = server.accept()
        with reader, socket.create_connection(("127.0.0.1", port)) as source:
            threading.Thread(target=_copy, args=(reader, source), daemon=True).start()
            _copy(source, reader)


def _copy(source: socket.socket, target: socket.socket) -> None:
    buffer = memoryview(bytearray(_PROXY_NBYTES))
    while n := source.recv_into(buffer):
        target.sendall(buffer[:n])


def _fill(source: socket.socket, buffer: memoryview) -> None:
    filled = 0
    while filled < len(buffer):
        n = source.recv_into(buffer[filled:])
        if not n:
            raise ConnectionError("The chain is broken.")
        filled += n


def _dialed(security: Security, port: int) -> ssl.SSLSocket:
    context: ssl.SSLContext = security.get_connection_args("client")["ssl_context"]
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port)))


def _tell_port(server: socket.socket) -> None:
    sys.stdout.write(f"{server.getsockname()[1]}\n")
    sys.stdout.flush()


def _accepted(security: Security) -> ssl.SSLSocket:
    context: ssl.SSLContext = security.get_listen_args("scheduler")["ssl_context"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        _tell_port(server)
        reader, _ = server.accept()
        return context.wrap_socket(reader, server_side=True)


_PARTS: Final[dict[str, Callable[[Security, int], None]]] = {
    "give": _give,
    "pass on": _pass_on,
    "proxy": _proxy,
}

if __name__ == "__main__":
    asked, shared, dialed = pickle.load(sys.stdin.buffer)
    _PARTS[asked](shared, dialed)
