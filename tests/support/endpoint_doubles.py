"""What the tests of endpoints wait with, and what they put in a real gateway's place."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from support.polling import patience
from xr_locality.regions import Region

WEST = Region.parse("aws:us-west-2")
CENTRAL = Region.parse("gcp:us-central1")


async def eventually(
    question: Callable[[], Awaitable[bool] | bool], *, seconds: float = 30.0
) -> None:
    """Ask again and again until the answer is yes; fail at the deadline."""
    async with asyncio.timeout(patience(seconds)):
        while True:
            answer = question()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.02)


@dataclass(kw_only=True)
class FakeGateway:
    """An HTTP server that answers as told and remembers what it was asked.

    It stands in for a gateway where a real one cannot be brought to behave badly.
    """

    answers: dict[tuple[str, str], tuple[int, Any]]
    #: Requests with these are held until `release` is set.
    held: tuple[str, str] | None = None
    release: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[str, str]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    address: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and hang up."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1")
        method, path = head.split(" ", 2)[:2]
        self.asked.append((method, path))
        self.heads.append(head)
        if (method, path) == self.held:
            await self.release.wait()
        status, body = self.answers.get((method, path), (404, {"error": "no such page"}))
        text = body if isinstance(body, str) else json.dumps(body)
        kind = "text/html" if isinstance(body, str) else "application/json"
        writer.write(
            f"HTTP/1.1 {status} Whatever\r\nContent-Type: {kind}\r\nConnection: close\r\n"
            f"Content-Length: {len(text.encode())}\r\n\r\n{text}".encode()
        )
        writer.close()


@asynccontextmanager
async def fake_gateway(
    answers: dict[tuple[str, str], tuple[int, Any]],
    *,
    held: tuple[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[FakeGateway]:
    """Serve a `FakeGateway` on a free port."""
    fake = FakeGateway(answers=answers, held=held)
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        where = "http://127.0.0.1" if tls is None else "https://localhost"
        fake.address = f"{where}:{server.sockets[0].getsockname()[1]}"
        yield fake
