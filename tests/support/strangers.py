"""HTTP servers of this machine that answer as they are told: hang, redirect, lie."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Stranger:
    """An HTTP server of this machine that answers as it is told.

    Parameters
    ----------
    answer : callable
        Called with the handler of each request, and the stranger.
    """

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler, Stranger], None]) -> None:
        #: Method, path and headers of each request, as they came.
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        #: Set when the test is over: whoever hangs waits for it.
        self.over = threading.Event()
        #: Set when a request has come.
        self.asked = threading.Event()
        stranger = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                stranger.requests.append((self.command, self.path, headers))
                stranger.asked.set()
                answer(self, stranger)

            def do_HEAD(self) -> None:
                self.do_GET()

            def log_message(self, *args: Any) -> None:
                """Write nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()

    @property
    def host(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """Its root."""
        return f"http://{self.host}"

    def close(self) -> None:
        """Stop it."""
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def reply(
    status: int = 200, body: bytes = b"", **headers: str
) -> Callable[[BaseHTTPRequestHandler, Stranger], None]:
    """Make an answer; underscores in the names of headers are dashes."""

    def answer(handler: BaseHTTPRequestHandler, stranger: Stranger) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    return answer


def hang(handler: BaseHTTPRequestHandler, stranger: Stranger) -> None:
    """Answer nothing."""
    stranger.over.wait(30)
    handler.close_connection = True


def drip(handler: BaseHTTPRequestHandler, stranger: Stranger) -> None:
    """Answer a byte at a time, without an end."""
    try:
        while not stranger.over.wait(0.01):
            handler.wfile.write(b"x")
    except OSError:
        return
    finally:
        handler.close_connection = True
