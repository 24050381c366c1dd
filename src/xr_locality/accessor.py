"""The ``.locality`` accessor of Dataset, DataArray and DataTree; forwards to ``api``."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import xarray as xr

from xr_locality import api, routing
from xr_locality.config import CallPolicy
from xr_locality.errors import RegionError
from xr_locality.regions.region import Region
from xr_locality.runtime.awaiting import awaited

if TYPE_CHECKING:
    from xr_locality.display.plans import Plan
    from xr_locality.display.source_table import SourceTable
    from xr_locality.execution.progress import Callback

__all__ = ["LocalityAccessor"]

#: Sources that the accessor's repr lists; the others are counted.
_MOST_SOURCES = 10


class LocalityAccessor:
    """Accessor ``.locality``: the regions of an object's data, and computing beside them.

    Parameters
    ----------
    obj : Dataset, DataArray or DataTree
        The object; xarray makes the accessor.
    """

    def __init__(self, obj: Any) -> None:
        self._obj = obj

    @property
    def region(self) -> Region:
        """The one region that the data are stored in.

        Raises
        ------
        RegionError
            If there are several, or one is not known.
        """
        regions = self.regions
        unknown = [source.url for source in self.sources if source.region is None]
        if unknown:
            raise RegionError(
                f"The region of {', '.join(map(repr, unknown))} is not known. Give it with "
                ".locality.tag(region), in the catalog, or in locality.rules.",
                urls=tuple(unknown),
            )
        if len(regions) != 1:
            found = ", ".join(map(str, regions)) or "no region: it reads no stored data"
            raise RegionError(
                f"The data are stored in {found}. Use .locality.regions, or .locality.sources "
                "for a table.",
                regions=tuple(map(str, regions)),
            )
        return regions[0]

    @property
    def regions(self) -> tuple[Region, ...]:
        """The regions that the data are stored in, without repetition, sorted."""
        return tuple(sorted({each.region for each in self.sources if each.region is not None}))

    @property
    def sources(self) -> SourceTable:
        """A table of the sources: URL, region, evidence, variables, stored bytes."""
        from xr_locality.display.source_table import SourceTable

        return SourceTable(api.sources(self._obj))

    def plan(self, **policy: Unpack[CallPolicy]) -> Plan:
        """Decide what would run where; see :func:`xr_locality.plan`."""
        return api.plan(self._obj, **policy)

    def explain(self, **policy: Unpack[CallPolicy]) -> None:
        """Print which region would run which tasks, the bytes that cross, and their cost."""
        print(self.plan(**policy).explain())

    def compute(
        self,
        *,
        callbacks: Sequence[Callback] = (),
        asynchronous: bool = False,
        **policy: Unpack[CallPolicy],
    ) -> Any:
        """Compute each part beside its data and return a new object.

        Parameters
        ----------
        callbacks : sequence of Callback, optional
            Called with each event, see :class:`~xr_locality.execution.progress.Callback`.
        asynchronous : bool, optional
            Return a coroutine at once; cancelling the await cancels the run in every
            region.
        **policy : CallPolicy
            Settings for this run, see :class:`xr_locality.Session`.

        Returns
        -------
        Dataset, DataArray or DataTree, or coroutine of it
            As ``.compute()`` returns it: same values, coordinates,
            attributes and encodings.
        """
        if asynchronous:
            return awaited(self.compute, callbacks=callbacks, **policy)
        computed = api.compute(self._obj, callbacks=callbacks, **policy)[0]
        # An object with nothing lazy comes back as it is, as from dask; xarray copies it.
        return self._obj.copy(deep=False) if computed is self._obj else computed

    def load(
        self,
        *,
        callbacks: Sequence[Callback] = (),
        asynchronous: bool = False,
        **policy: Unpack[CallPolicy],
    ) -> Any:
        """Compute each part beside its data, in place, and return the object.

        Parameters
        ----------
        callbacks : sequence of Callback, optional
            As :meth:`compute` takes them.
        asynchronous : bool, optional
            As :meth:`compute` takes it. The object changes when all is there, and not
            at all if the await is cancelled.
        **policy : CallPolicy
            Settings for this run, see :class:`xr_locality.Session`.

        Returns
        -------
        Dataset, DataArray or DataTree, or coroutine of it
            The object itself.
        """
        if asynchronous:
            return _fill_awaited(
                self._obj, self.compute(callbacks=callbacks, asynchronous=True, **policy)
            )
        return _fill(self._obj, self.compute(callbacks=callbacks, **policy))

    def persist(
        self,
        *,
        callbacks: Sequence[Callback] = (),
        asynchronous: bool = False,
        **policy: Unpack[CallPolicy],
    ) -> Any:
        """Compute, and leave the chunks in the regions where they are made.

        Parameters
        ----------
        callbacks : sequence of Callback, optional
            As :meth:`compute` takes them.
        asynchronous : bool, optional
            As :meth:`compute` takes it.
        **policy : CallPolicy
            Settings for this run, see :class:`xr_locality.Session`.

        Returns
        -------
        Dataset, DataArray or DataTree, or coroutine of it
            A new object, backed by the chunks in their regions.
        """
        if asynchronous:
            return awaited(self.persist, callbacks=callbacks, **policy)
        return api.persist(self._obj, callbacks=callbacks, **policy)[0]

    def to_zarr(
        self,
        store: Any,
        *,
        policy: CallPolicy | None = None,
        asynchronous: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Write to a zarr store, each chunk from beside it.

        Metadata and coordinates are written from here, by xarray itself; chunks
        are made beside their data and written by workers in the store's region.

        Parameters
        ----------
        store : Any
            As ``to_zarr`` takes it. Its region must be known: from a rule, a tag or
            a catalog; local files are on this machine.
        policy : CallPolicy, optional
            Settings for this run, see :class:`xr_locality.Session`.
        asynchronous : bool, optional
            As :meth:`compute` takes it. A cancelled await leaves the chunks that
            are written already in the store.
        **kwargs : Any
            As ``to_zarr`` takes them.

        Returns
        -------
        ZarrStore, or coroutine of it
            As ``to_zarr`` returns it.
        """
        if asynchronous:
            return awaited(self.to_zarr, store, policy=policy, **kwargs)
        with routing.routed(**(policy or CallPolicy())):
            return self._obj.to_zarr(store, **kwargs)

    def tag(self, region: str | Region) -> Any:
        """State where the data are stored; see :func:`xr_locality.tag`."""
        return api.tag(self._obj, region)

    def __repr__(self) -> str:
        from xr_locality.display.source_table import SourceTable

        # A repr asks no cloud.
        table = SourceTable(api.sources(self._obj, probe="never"))
        kind = type(self._obj).__name__
        more = len(table) - _MOST_SOURCES
        shown = repr(SourceTable(table[:_MOST_SOURCES]))
        rest = f"\nand {more:,} more" if more > 0 else ""
        return f"<locality of {kind}>\n{shown}{rest}"


async def _fill_awaited(obj: Any, computing: Coroutine[Any, Any, Any]) -> Any:
    return _fill(obj, await computing)


def _fill(obj: Any, computed: Any) -> Any:
    """Put computed values into an object's own variables, as ``load`` does."""
    if isinstance(obj, xr.DataTree):
        # The tree may be a part of a larger one: paths start at it.
        for path, node in obj.subtree_with_keys:
            _fill_variables(dict(node.variables), dict(computed[path].variables))
    elif isinstance(obj, xr.Dataset):
        _fill_variables(dict(obj.variables), dict(computed.variables))
    else:
        obj.variable.data = computed.variable.data
        for name, coord in obj.coords.items():
            _fill_variables({name: coord.variable}, {name: computed.coords[name].variable})
    return obj


def _fill_variables(variables: dict[Any, Any], computed: dict[Any, Any]) -> None:
    for name, variable in variables.items():
        # Index variables are in memory, and refuse to be changed.
        if not isinstance(variable, xr.IndexVariable):
            variable.data = computed[name].data


def register() -> None:
    """Give Dataset, DataArray and DataTree the accessor."""
    for decorate in (
        xr.register_dataset_accessor,
        xr.register_dataarray_accessor,
        xr.register_datatree_accessor,
    ):
        decorate("locality")(LocalityAccessor)  # type: ignore[no-untyped-call]
