"""Entries of intake-esm's datastores: a table of assets, of which buckets are what matters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from xr_locality.catalog.entries import Entry, Reached, mapping
from xr_locality.catalog.entry_tags import Level
from xr_locality.errors import LocalityError
from xr_locality.regions.store import Store

__all__ = ["EsmReader"]

#: Columns in which a table may say where its assets are.
_COLUMNS: Final = (
    "region",
    "provider",
    "storage:region",
    "storage:platform",
    "storage:requester_pays",
    "msft:region",
)
_OBJECT_STORES: Final = frozenset({"az", "gs", "s3"})


class EsmReader:
    """Reads what :func:`intake.open_esm_datastore` opens."""

    def read(
        self, catalog: Any, levels: tuple[Level, ...], reached: Reached
    ) -> Iterable[Entry] | None:
        """List the buckets of a datastore; None if it is of another kind."""
        if "esmcat" not in _own(catalog):
            return None
        return self._entries(catalog, levels, reached)

    def _entries(
        self, catalog: Any, levels: tuple[Level, ...], reached: Reached
    ) -> Iterator[Entry]:
        name = str(getattr(catalog.esmcat, "id", None) or "datastore")
        column = catalog.esmcat.assets.column_name
        where = f"datastore {name!r}"
        own = Level(metadata=mapping(catalog.metadata), where=where)
        table = catalog.esmcat.df
        said = [each for each in _COLUMNS if each in table.columns]
        rows = table[[column, *said]].drop_duplicates()
        found: dict[tuple[Store, tuple[Any, ...]], None] = {}
        broken = 0
        for url, *values in rows.itertuples(index=False, name=None):
            try:
                store = Store.from_url(url)
            except LocalityError:
                broken += 1
                continue
            if store.protocol in _OBJECT_STORES:
                # All of a bucket is in one region, and a table has a million rows.
                store = Store(protocol=store.protocol, bucket=store.bucket, account=store.account)
            found[store, tuple(values)] = None
        for store, values in found:
            # Pandas has other things than text where a cell is empty.
            pairs = zip(said, values, strict=True)
            metadata = {key: value for key, value in pairs if isinstance(value, str | bool)}
            level = Level(metadata=metadata, where=f"{where}, {store}")
            yield Entry(
                name=reached.name(f"{name}[{store.url}]"),
                levels=(*levels, own, level),
                stores=(store,),
            )
        if broken:
            yield Entry(
                name=reached.name(name), levels=levels, problem=f"{broken} rows without a URL"
            )


def _own(catalog: Any) -> dict[str, Any]:
    try:
        return dict(object.__getattribute__(catalog, "__dict__"))
    except AttributeError:
        return {}
