"""dask-level functions: plan, compute, persist, tag, where; each uses the current session."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, Literal, TypeVar, overload

from xr_locality.display.plans import Plan
from xr_locality.graph.collections import unpack
from xr_locality.graph.layers import ancestors, embedded_objects
from xr_locality.plan.survey import Source, survey
from xr_locality.regions.chain import Chain
from xr_locality.regions.lookup import Lookup
from xr_locality.regions.region import Region
from xr_locality.regions.store import Store
from xr_locality.regions.tag import Tag
from xr_locality.regions.tag_registry import REGISTRY
from xr_locality.session import current_session
from xr_locality.sources.search import find_sources

__all__ = ["compute", "persist", "plan", "sources", "tag", "where"]

T = TypeVar("T")


def plan(*collections: Any, **policy: Any) -> Plan:
    """Decide what would run where, which bytes would cross, and what they cost.

    Pure: reads graphs and metadata, sends no task, starts no cluster.

    Parameters
    ----------
    *collections : Any
        Datasets, DataArrays, DataTrees, dask Arrays, DataFrames, Bags, Delayeds,
        and containers of them.
    **policy : Any
        Settings for this plan, see :class:`Session`. ``endpoints={"aws:us-east-1":
        None}`` plans for endpoints that are only named.

    Returns
    -------
    Plan

    Raises
    ------
    RegionError
        If the region of a source is not known.
    EndpointError
        If data lie in a region without an endpoint.
    BudgetError
        If more would cross than ``max_egress`` allows.
    LocalityErrorGroup
        If several of these are wrong.
    """
    return current_session().plan(*collections, **policy)


@overload
def compute(
    *collections: Any, asynchronous: Literal[False] = False, **policy: Any
) -> tuple[Any, ...]: ...


@overload
def compute(
    *collections: Any, asynchronous: Literal[True], **policy: Any
) -> Coroutine[Any, Any, tuple[Any, ...]]: ...


def compute(
    *collections: Any, asynchronous: bool = False, **policy: Any
) -> tuple[Any, ...] | Coroutine[Any, Any, tuple[Any, ...]]:
    """Compute collections, each part of their graph beside its data.

    Parameters
    ----------
    *collections : Any
        As ``dask.compute`` takes them.
    asynchronous : bool, optional
        Return at once what is to be awaited, and leave the caller's event loop free.
        All errors are raised by the ``await``; cancelling it cancels the run in every
        region.
    **policy : Any
        Settings for this run, see :class:`Session`.

    Returns
    -------
    tuple, or coroutine of it
        As ``dask.compute`` returns it: the same values, dtypes, coordinates,
        attributes and encodings as without xr-locality.

    Raises
    ------
    RegionError, EndpointError, BudgetError
        As :func:`plan` raises them, before anything is started.
    ExecutionError
        If a run broke after it had started.
    """
    session = current_session()
    computed: tuple[Any, ...] | Coroutine[Any, Any, tuple[Any, ...]]
    computed = session.compute(*collections, asynchronous=asynchronous, **policy)  # type: ignore[call-overload]
    return computed


@overload
def persist(
    *collections: Any, asynchronous: Literal[False] = False, **policy: Any
) -> tuple[Any, ...]: ...


@overload
def persist(
    *collections: Any, asynchronous: Literal[True], **policy: Any
) -> Coroutine[Any, Any, tuple[Any, ...]]: ...


def persist(
    *collections: Any, asynchronous: bool = False, **policy: Any
) -> tuple[Any, ...] | Coroutine[Any, Any, tuple[Any, ...]]:
    """Compute collections and leave their chunks in the regions where they are made.

    Parameters
    ----------
    *collections : Any
        As ``dask.persist`` takes them.
    asynchronous : bool, optional
        As :func:`compute` takes it.
    **policy : Any
        Settings for this run, see :class:`Session`.

    Returns
    -------
    tuple, or coroutine of it
        The same collections; later plans know where their chunks are.
    """
    session = current_session()
    persisted: tuple[Any, ...] | Coroutine[Any, Any, tuple[Any, ...]]
    persisted = session.persist(*collections, asynchronous=asynchronous, **policy)  # type: ignore[call-overload]
    return persisted


def tag(obj: T, region: str | Region) -> T:
    """Say by hand in which region an object's data lie.

    What is known of a source is kept under its store and under the names of the
    graph's layers, so the tag holds for everything computed from `obj`.

    Parameters
    ----------
    obj : Dataset, DataArray, DataTree or dask collection
        The object, as it was opened.
    region : str or Region
        Where its data lie.

    Returns
    -------
    object
        `obj` itself.

    Raises
    ------
    RegionError
        If the region's name is malformed.
    """
    where = Region.parse(region)
    marked = Tag(region=where, evidence="tagged by hand")
    for part in unpack(obj).parts:
        roots = []
        for name in ancestors(part.graph, part.layers):
            layer = part.graph.layers[name]
            found = find_sources(embedded_objects(layer))
            for each in found:
                REGISTRY.add(each.group, marked, kind="hand")
            if found or not part.graph.dependencies.get(name):
                roots.append(name)
        REGISTRY.tag_layers(roots, where)
    return obj


def sources(obj: Any) -> tuple[Source, ...]:
    """List what an object's graph reads, and from which region.

    Parameters
    ----------
    obj : Any
        As :func:`plan` takes it.

    Returns
    -------
    tuple of Source
        The region is None where nobody knows it.
    """
    bundle = unpack(obj)
    session = current_session()
    found, _ = survey(
        bundle.graph(),
        bundle.parts,
        chain=Chain.from_settings(session.settings()),
        unknown=None,
        find_cluster=session.find,
    )
    return found.sources


def where(
    *urls: str, storage_options: Mapping[str, Any] | None = None, **policy: Any
) -> tuple[Lookup, ...]:
    """Say in which regions some URLs lie, and how that is known.

    Nothing is opened or read. Buckets of which nobody knows are asked for, unless
    ``probe="never"``.

    Parameters
    ----------
    *urls : str
        As fsspec takes them; what is secret in them is not shown again.
    storage_options : mapping, optional
        What their filesystems are opened with, such as ``endpoint_url``.
    **policy : Any
        Settings for this call, see :class:`Session`.

    Returns
    -------
    tuple of Lookup
        One for each URL, in their order.

    Raises
    ------
    SourceError
        If a URL is empty, or malformed.
    ConfigurationError
        If a setting or a rule is.

    Examples
    --------
    >>> where("s3://noaa-goes16/ABI-L2-CMIPF", probe="never")[0].region
    Region('aws:us-east-1')
    """
    chain = Chain.from_settings(current_session().settings(**policy))
    stores = [Store.from_url(url, storage_options) for url in urls]
    chain.ask(stores)
    return tuple(chain.look_up(store) for store in stores)
