"""Places where tests write data and open them again: a URL, and the server behind it."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import fsspec

from xr_locality.regions.store import Store

# Azurite's account and key, which its documentation publishes.
AZURITE_ACCOUNT: Final = "devstoreaccount1"
AZURITE_KEY: Final = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
_LISTENS: Final = re.compile(rb"successfully listens on (http://[^\s]+)")
_SECONDS: Final = 60
_SERVE_FILES: Final = Path(__file__).with_name("serve_files.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A prefix in some storage.

    Attributes
    ----------
    url : str
        Where to open from.
    options : mapping
        What fsspec needs to do so.
    write_url, write_options :
        Where to write to; the same by default.
    environ : mapping of str to str
        What GDAL needs to reach it.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict)
    write_url: str = ""
    write_options: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()

    @property
    def protocol(self) -> str:
        """The URL's scheme."""
        return self.url.partition("://")[0]

    @property
    def store(self) -> Store:
        """What finders are to find."""
        return Store.from_url(self.url, self.options)

    @property
    def target(self) -> tuple[str, dict[str, Any]]:
        """URL and options to write with."""
        if self.write_url:
            return self.write_url, dict(self.write_options)
        return self.url, dict(self.options)

    def below(self, name: str) -> Place:
        """Go down to a directory."""
        return Place(
            url=f"{self.url}/{name}",
            options=self.options,
            write_url=f"{self.write_url}/{name}" if self.write_url else "",
            write_options=self.write_options,
            environ=self.environ,
            secrets=self.secrets,
        )

    def put(self, path: Path, name: str) -> str:
        """Upload a file; return the URL to open it from."""
        url, options = self.target
        fs, directory = fsspec.url_to_fs(url, **options)
        fs.makedirs(directory, exist_ok=True)
        fs.put_file(str(path), f"{directory}/{name}")
        return f"{self.url}/{name}"

    def open(self, name: str) -> Any:
        """Open an uploaded file as xarray takes it."""
        return fsspec.open(f"{self.url}/{name}", **self.options).open()


@contextmanager
def http_place(directory: Path) -> Iterator[Place]:
    """Serve a directory over HTTP."""
    command = [sys.executable, str(_SERVE_FILES), str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield Place(url=f"http://127.0.0.1:{port}", write_url=f"file://{directory}")
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    # Not terminate: azurite waits for connections that clients keep open.
    process.kill()
    process.wait(_SECONDS)
    assert process.stdout is not None
    process.stdout.close()


@contextmanager
def gcs_place() -> Iterator[Place]:
    """Start an emulator of GCS with a bucket."""
    from gcp_storage_emulator.server import create_server

    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="data")
    server.start()
    try:
        port = server._api._httpd.server_address[1]
        options = {"token": "anon", "endpoint_url": f"http://127.0.0.1:{port}"}
        yield Place(url="gs://data", options=options)
    finally:
        server.stop()


@functools.cache
def azurite(cache: Path) -> str | None:
    """Find an emulator of Azure's blobs, or install it where the tests keep what they need.

    Returns
    -------
    str or None
        The command; None where there is none, and no npm or no registry to get it from.
    """
    if found := shutil.which("azurite-blob"):
        return found
    installed = cache / "node_modules" / ".bin" / "azurite-blob"
    if not installed.exists() and (npm := shutil.which("npm")):
        # Beside its place at first, as other test processes may do the same.
        beside = cache / str(os.getpid())
        # Where there is no registry, npm tries for longer than a test may take.
        flags = ["--no-audit", "--no-fund", "--fetch-retries=0", "--prefix", str(beside)]
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [npm, "install", *flags, "azurite@3"],
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        # Refused where another process was first.
        with suppress(OSError):
            (beside / "node_modules").rename(installed.parents[1])
        shutil.rmtree(beside, ignore_errors=True)
    return str(installed) if installed.exists() else None


@contextmanager
def azure_place(command: str, directory: Path) -> Iterator[Place]:
    """Start an emulator of Azure's blobs with a container."""
    arguments = ["--blobPort", "0", "--inMemoryPersistence", "--skipApiVersionCheck"]
    log = directory / "azurite.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [command, *arguments, "--disableTelemetry"],
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=output,
        )
    try:
        assert process.stdout is not None
        match = next(filter(None, map(_LISTENS.search, process.stdout)))
        endpoint = f"{match[1].decode()}/{AZURITE_ACCOUNT}"
        connection = (
            f"DefaultEndpointsProtocol=http;AccountName={AZURITE_ACCOUNT};"
            f"AccountKey={AZURITE_KEY};BlobEndpoint={endpoint};"
        )
        options = {"connection_string": connection, "use_listings_cache": False}
        fsspec.filesystem("az", **options).mkdir("data")
        yield Place(url="az://data", options=options, secrets=(AZURITE_KEY,))
    finally:
        _end(process)
