"""Kinds of storage that a catalog's entry may name, and how each is opened lazily.

Each kind is a :class:`Format` in :data:`FORMATS`: it opens what an entry names, and says
which stores the entry's tag is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import xarray as xr

from xr_locality.errors import ConfigurationError, MissingDependencyError, SourceError
from xr_locality.graph.layers import embedded_objects
from xr_locality.regions.store import Store
from xr_locality.sources.search import find_sources

__all__ = ["FORMATS", "Format", "Opening"]

#: Engines that take a URL and ``storage_options`` themselves; others are handed open files.
_STORE_ENGINES: Final = frozenset({"kerchunk", "zarr"})
_REFERENCE: Final = "reference://"
#: What THREDDS servers have in the URLs of their OPeNDAP service.
_OPENDAP: Final = "/dodsC/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What is opened, and with which options; nothing of it is shown."""

    urls: tuple[str, ...] = field(repr=False)
    storage_options: Mapping[str, Any] = field(repr=False)
    #: For xarray, or for the format.
    options: Mapping[str, Any] = field(repr=False)

    @property
    def several(self) -> bool:
        """Whether more than one store is opened, as one dataset."""
        return len(self.urls) > 1 or "*" in self.urls[0]

    @property
    def stores(self) -> list[Store]:
        """Where the URLs lead."""
        return [Store.from_url(url, self.storage_options) for url in self.urls]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One kind of storage."""

    #: Opens the data lazily.
    open: Callable[[Opening], xr.Dataset]
    #: Lists the stores that the tag of an entry is about, once it is open.
    tagged: Callable[[Opening, xr.Dataset], Iterable[Store]]
    #: Whether a URL below the store's leads to each of its arrays, as zarr lays them out.
    by_url: Callable[[Opening], bool] = lambda opening: False


def _tag_urls(opening: Opening, dataset: xr.Dataset) -> Iterable[Store]:
    return opening.stores


def _tag_found(opening: Opening, dataset: xr.Dataset) -> Iterable[Store]:
    """List what the opened data read: a reference file says where they are, not its own URL."""
    layers = getattr(dataset.__dask_graph__(), "layers", {})
    found = find_sources(chain.from_iterable(map(embedded_objects, layers.values())))
    groups = dict.fromkeys(each.group for each in found)
    # Every set of references is the same place to fsspec: a tag of it would be one of all.
    known = [each for each in groups if each.protocol != "reference"]
    return known or opening.stores


def _tag_any(opening: Opening, dataset: xr.Dataset) -> Iterable[Store]:
    return (_tag_found if _is_reference(opening) else _tag_urls)(opening, dataset)


def _options(opening: Opening, **defaults: Any) -> dict[str, Any]:
    """Merge defaults, an entry's arguments and its ``xarray_kwargs``, as intake-xarray does."""
    options = {**defaults, **opening.options}
    options |= options.pop("xarray_kwargs", None) or {}
    return options


def _is_zarr(opening: Opening) -> bool:
    engine = _options(opening, engine="zarr")["engine"]
    return bool(engine == "zarr") and not (_is_opendap(opening) or _is_reference(opening))


def _is_reference(opening: Opening) -> bool:
    return opening.urls[0].startswith(_REFERENCE)


def _is_opendap(opening: Opening) -> bool:
    """Return whether an OPeNDAP server is asked: its URLs lead to no files."""
    return opening.urls[0].startswith(("http://", "https://")) and _OPENDAP in opening.urls[0]


def _open_opendap(opening: Opening) -> xr.Dataset:
    """Open URLs of an OPeNDAP server, which netCDF's library asks itself."""
    options = _options(opening, engine="netcdf4", chunks={})
    options.pop("path_as_pattern", None)
    if options.pop("auth", None) is not None:
        raise ConfigurationError(
            "The argument 'auth' of an OPeNDAP entry is not understood here. Put the name and "
            "password for its host into the file ~/.netrc."
        )
    if opening.several:
        return xr.open_mfdataset(list(opening.urls), **options)
    return xr.open_dataset(opening.urls[0], **options)


def _open_xarray(opening: Opening) -> xr.Dataset:
    """Open with any engine of xarray's; zarr unless one is named."""
    if _is_opendap(opening):
        return _open_opendap(opening)
    if _is_reference(opening):
        return _open_kerchunk(opening)
    options = _options(opening, engine="zarr", chunks={})
    if options["engine"] not in _STORE_ENGINES:
        return _open_files(opening)
    if opening.storage_options:
        given = options.get("backend_kwargs") or {}
        options["backend_kwargs"] = {**given, "storage_options": dict(opening.storage_options)}
    if opening.several:
        urls = opening.urls[0] if len(opening.urls) == 1 else list(opening.urls)
        return xr.open_mfdataset(urls, **options)
    return xr.open_dataset(opening.urls[0], **options)


def _open_files(opening: Opening) -> xr.Dataset:
    """Open files such as netCDF: those of this machine by path, others through fsspec."""
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    if _is_opendap(opening):
        return _open_opendap(opening)
    options = _options(opening, chunks={})
    if options.pop("path_as_pattern", True) is not False and "{" in "".join(opening.urls):
        raise ConfigurationError(
            "Patterns such as '{year}' in a URL are not understood here. Use '*', with "
            "combine and concat_dim as xarray.open_mfdataset takes them."
        )
    files = fsspec.open_files(list(opening.urls), mode="rb", **opening.storage_options)
    opened = [each.path if isinstance(each.fs, LocalFileSystem) else each.open() for each in files]
    if len(opened) == 1:
        return xr.open_dataset(opened[0], **options)
    if not opened:
        raise SourceError(f"There is no file at {opening.stores[0].url!r}.")
    return xr.open_mfdataset(opened, **options)


def _open_kerchunk(opening: Opening) -> xr.Dataset:
    """Open a set of references, in JSON or parquet, as zarr."""
    if opening.several:
        raise ConfigurationError(
            "A kerchunk entry names one set of references. Combine them with kerchunk, or make "
            "an entry of each."
        )
    (url,) = opening.urls
    references = dict(opening.storage_options)
    if url.rstrip("/") != _REFERENCE.rstrip("/"):
        references["fo"] = url
    # zarr 3 reads through asynchronous filesystems alone.
    remote = dict(references.get("remote_options") or {})
    references["remote_options"] = {"asynchronous": True, **remote}
    options = _options(opening, chunks={}, consolidated=False)
    options.pop("engine", None)
    return xr.open_dataset(
        _REFERENCE, engine="zarr", backend_kwargs={"storage_options": references}, **options
    )


def _open_icechunk(opening: Opening) -> xr.Dataset:
    """Open a branch, tag or snapshot of an Icechunk repository."""
    try:
        import icechunk
    except ImportError as err:
        raise MissingDependencyError(
            "Icechunk repositories need the package icechunk: pip install icechunk."
        ) from err
    if opening.several:
        raise ConfigurationError("An icechunk entry names one repository.")
    options = _options(opening, chunks={}, consolidated=False)
    versions = {name: options.pop(name, None) for name in ("branch", "tag", "snapshot_id")}
    version = {name: value for name, value in versions.items() if value is not None}
    credentials = options.pop("authorize_virtual_chunk_access", None)
    repository = icechunk.Repository.open(
        _icechunk_storage(icechunk, opening), authorize_virtual_chunk_access=credentials
    )
    session = repository.readonly_session(**(version or {"branch": "main"}))
    store: Any = session.store
    return xr.open_dataset(store, engine="zarr", **options)


#: What fsspec's filesystems and Icechunk's storages call the same things.
_ICECHUNK_NAMES: Final = {
    "s3": {
        "anon": "anonymous",
        "key": "access_key_id",
        "secret": "secret_access_key",
        "token": "session_token",
    },
    "gs": {"anon": "anonymous"},
    "az": {"account_key": "access_key"},
}


def _icechunk_storage(icechunk: Any, opening: Opening) -> Any:
    (store,) = opening.stores
    names = _ICECHUNK_NAMES.get(store.protocol, {})
    given = dict(opening.storage_options)
    given |= given.pop("client_kwargs", None) or {}
    options = {names.get(name, name): value for name, value in given.items()}
    make = _ICECHUNK_STORAGES.get(store.protocol)
    if make is None:
        kinds = ", ".join(sorted(_ICECHUNK_STORAGES))
        raise ConfigurationError(
            f"An Icechunk repository cannot be opened at {store.url!r}: Icechunk keeps them on "
            f"{kinds}.",
            url=store.url,
        )
    return make(icechunk, store, options)


def _icechunk_s3(icechunk: Any, store: Store, options: dict[str, Any]) -> Any:
    if "region_name" in options:
        options.setdefault("region", options.pop("region_name"))
    if str(options.get("endpoint_url") or "").startswith("http://"):
        options = {"allow_http": True, "force_path_style": True, **options}
    return icechunk.s3_storage(bucket=store.bucket, prefix=store.path or None, **options)


def _icechunk_gcs(icechunk: Any, store: Store, options: dict[str, Any]) -> Any:
    if options.get("token") == "anon":
        options = {**options, "anonymous": True}
    options.pop("token", None)
    return icechunk.gcs_storage(bucket=store.bucket, prefix=store.path or None, **options)


def _icechunk_azure(icechunk: Any, store: Store, options: dict[str, Any]) -> Any:
    options.pop("account_name", None)
    return icechunk.azure_storage(
        account=store.account, container=store.bucket, prefix=store.path, **options
    )


def _icechunk_local(icechunk: Any, store: Store, options: dict[str, Any]) -> Any:
    return icechunk.local_filesystem_storage(urlsplit(store.url).path)


_ICECHUNK_STORAGES: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {
        "az": _icechunk_azure,
        "file": _icechunk_local,
        "gs": _icechunk_gcs,
        "s3": _icechunk_s3,
    }
)

#: By name.
FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    {
        "xarray": Format(open=_open_xarray, tagged=_tag_any, by_url=_is_zarr),
        "netcdf": Format(open=_open_files, tagged=_tag_urls),
        "kerchunk": Format(open=_open_kerchunk, tagged=_tag_found),
        "icechunk": Format(open=_open_icechunk, tagged=_tag_urls),
    }
)
