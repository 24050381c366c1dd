"""Functions on dask collections: plan, compute, persist, tag, sources, where."""

from __future__ import annotations

import warnings
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from xr_locality.config import CallPolicy
from xr_locality.display.plans import Plan
from xr_locality.errors import LocalityWarning
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

if TYPE_CHECKING:
    from xr_locality.execution.progress import Callback

__all__ = ["compute", "persist", "plan", "sources", "tag", "where"]

T = TypeVar("T")


def plan(*collections: Any, **policy: Unpack[CallPolicy]) -> Plan:
    """Decide what would run where, which bytes would cross, and what they cost.

    Pure: reads graphs and metadata, sends no task, starts no cluster.

    Parameters
    ----------
    *collections : Any
        Datasets, DataArrays, DataTrees, dask Arrays, DataFrames, Bags, Delayeds,
        and containers of them.
    **policy : CallPolicy
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
        If data are stored in a region without an endpoint.
    BudgetError
        If more would cross than ``max_egress`` allows.
    LocalityErrorGroup
        If several of these are wrong.
    """
    return current_session().plan(*collections, **policy)


@overload
def compute(
    *collections: Any,
    callbacks: Sequence[Callback] = (),
    asynchronous: Literal[False] = False,
    **policy: Unpack[CallPolicy],
) -> tuple[Any, ...]: ...


@overload
def compute(
    *collections: Any,
    callbacks: Sequence[Callback] = (),
    asynchronous: Literal[True],
    **policy: Unpack[CallPolicy],
) -> Coroutine[Any, Any, tuple[Any, ...]]: ...


def compute(
    *collections: Any,
    callbacks: Sequence[Callback] = (),
    asynchronous: bool = False,
    **policy: Unpack[CallPolicy],
) -> tuple[Any, ...] | Coroutine[Any, Any, tuple[Any, ...]]:
    """Compute collections, each part of their graph beside its data.

    Parameters
    ----------
    *collections : Any
        As ``dask.compute`` takes them.
    callbacks : sequence of Callback, optional
        Called with each event, see :class:`~xr_locality.execution.progress.Callback`.
    asynchronous : bool, optional
        Return a coroutine at once, and leave the caller's event loop free.
        All errors are raised by the ``await``; cancelling it cancels the run in every
        region.
    **policy : CallPolicy
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
    computed = session.compute(  # type: ignore[call-overload]
        *collections, callbacks=callbacks, asynchronous=asynchronous, **policy
    )
    return computed


@overload
def persist(
    *collections: Any,
    callbacks: Sequence[Callback] = (),
    asynchronous: Literal[False] = False,
    **policy: Unpack[CallPolicy],
) -> tuple[Any, ...]: ...


@overload
def persist(
    *collections: Any,
    callbacks: Sequence[Callback] = (),
    asynchronous: Literal[True],
    **policy: Unpack[CallPolicy],
) -> Coroutine[Any, Any, tuple[Any, ...]]: ...


def persist(
    *collections: Any,
    callbacks: Sequence[Callback] = (),
    asynchronous: bool = False,
    **policy: Unpack[CallPolicy],
) -> tuple[Any, ...] | Coroutine[Any, Any, tuple[Any, ...]]:
    """Compute collections and leave their chunks in the regions where they are made.

    Parameters
    ----------
    *collections : Any
        As ``dask.persist`` takes them.
    callbacks : sequence of Callback, optional
        Called with each event, as for :func:`compute`.
    asynchronous : bool, optional
        As :func:`compute` takes it.
    **policy : CallPolicy
        Settings for this run, see :class:`Session`.

    Returns
    -------
    tuple, or coroutine of it
        The same collections; later plans know where their chunks are.
    """
    session = current_session()
    persisted: tuple[Any, ...] | Coroutine[Any, Any, tuple[Any, ...]]
    persisted = session.persist(  # type: ignore[call-overload]
        *collections, callbacks=callbacks, asynchronous=asynchronous, **policy
    )
    return persisted


def tag(obj: T, region: str | Region) -> T:
    """State in which region an object's data are stored.

    The tag is kept for the stores and for the layers of the graph, so it holds for
    everything that is computed from `obj`.

    Parameters
    ----------
    obj : Dataset, DataArray, DataTree or dask collection
        The object, as it was opened.
    region : str or Region
        The region that its data are stored in.

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
    parts = unpack(obj).parts
    graph = getattr(obj, "__dask_graph__", None)
    if not parts if graph is None else graph() is None:
        warn_of_eager_data(obj, where)
    for part in parts:
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


def warn_of_eager_data(obj: Any, region: Region) -> None:
    """Warn of data of another region that dask does not hold: no plan can route them.

    Parameters
    ----------
    obj : Any
        An object without any dask collection.
    region : Region
        The region that its data are stored in.
    """
    client = Region.parse(current_session().settings().client_region)
    if region.is_local or region == client or not getattr(obj, "data_vars", (obj,)):
        return
    warnings.warn(
        f"The data of this {type(obj).__name__} are stored in region {str(region)!r}, and it "
        "holds no dask array: operations on it read them on this machine. Open them with "
        "chunks, as in xr.open_dataset(..., chunks={}), to compute beside them.",
        LocalityWarning,
        stacklevel=3,
    )


def sources(obj: Any, **policy: Any) -> tuple[Source, ...]:
    """List what an object's graph reads, and from which region.

    Parameters
    ----------
    obj : Any
        As :func:`plan` takes it.
    **policy : Any
        Settings for this call, such as ``probe``; see :class:`Session`.

    Returns
    -------
    tuple of Source
        The region is None where it is not known.
    """
    bundle = unpack(obj)
    session = current_session()
    found, _ = survey(
        bundle.graph(),
        bundle.parts,
        chain=Chain.from_settings(session.settings(**policy)),
        unknown=None,
        find_cluster=session.find,
    )
    return found.sources


def where(
    *urls: str, storage_options: Mapping[str, Any] | None = None, **policy: Unpack[CallPolicy]
) -> tuple[Lookup, ...]:
    """Find the regions of URLs, and the evidence.

    Nothing is opened or read. The clouds are asked for buckets that are not known
    otherwise, unless ``probe="never"``.

    Parameters
    ----------
    *urls : str
        As fsspec takes them; secrets in them are not shown again.
    storage_options : mapping, optional
        Options of their filesystems, such as ``endpoint_url``.
    **policy : CallPolicy
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
