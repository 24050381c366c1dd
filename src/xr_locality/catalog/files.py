"""Files of catalogs: read as text, parsed as data, never as programs."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any, Final

import yaml

from xr_locality.catalog.intake import DIRECTORY
from xr_locality.errors import ConfigurationError
from xr_locality.regions.store import Store, without_secrets

__all__ = ["MOST_NBYTES", "open_document", "parse_document"]

#: Pangeo's largest has 60 kB.
MOST_NBYTES: Final = 32 * 2**20


def open_document(url: str, options: Mapping[str, Any], *, local_only: bool) -> Any:
    """Read and parse a catalog's file.

    Parameters
    ----------
    url : str
        Where it is.
    options : Mapping
        What its filesystem is opened with.
    local_only : bool
        Whether to refuse what is not a file of this machine.

    Returns
    -------
    Mapping
        With its directory.

    Raises
    ------
    ConfigurationError
        If it cannot be read or parsed, or is no mapping. Nothing of its content is shown.
    """
    shown = without_secrets(url)
    local = Store.from_url(url, options).protocol == "file"
    if local_only and not local:
        raise ConfigurationError(f"The catalog {shown!r} is not a file here, and was not read.")
    import fsspec

    try:
        opened = fsspec.open(url, "rb", **options)
        with opened as file:
            text = file.read(MOST_NBYTES + 1)
    except Exception as err:  # noqa: BLE001  # A store may raise anything.
        # And may quote a signed URL in it.
        raise ConfigurationError(
            f"The catalog {shown!r} cannot be read: {type(err).__name__}."
        ) from None
    if len(text) > MOST_NBYTES:
        raise ConfigurationError(f"The catalog {shown!r} has more than {MOST_NBYTES} bytes.")
    parent = posixpath.dirname(opened.fs._strip_protocol(url))
    directory = parent if local else opened.fs.unstrip_protocol(parent)
    document = parse_document(text, shown)
    name = document.get("name") or posixpath.basename(shown)
    return {**document, "name": name, DIRECTORY: directory}


def parse_document(text: str | bytes, shown: str) -> dict[str, Any]:
    """Parse the text of a catalog's file; see :func:`open_document`."""
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as err:
        mark = getattr(err, "problem_mark", None)
        line = "" if mark is None else f" in line {mark.line + 1}"
        raise ConfigurationError(f"The catalog {shown!r} is no YAML{line}.") from None
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"{shown!r} is no catalog: it holds no mapping.")
    return dict(document)
