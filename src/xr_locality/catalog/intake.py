"""Entries of Intake's catalogs, of both versions, from their files or as they were opened."""

from __future__ import annotations

import itertools
import math
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from xr_locality.catalog.entries import Entry, Reached, mapping, shown
from xr_locality.catalog.entry_tags import Level
from xr_locality.errors import LocalityError
from xr_locality.regions.store import Store, without_secrets

__all__ = ["DIRECTORY", "FirstReader", "SecondReader"]

#: Under this name a document keeps the directory that its file is in.
DIRECTORY: Final = "__directory__"

# Arguments that drivers take URLs in.
_URLS: Final = ("urlpath", "url", "path", "fo", "filename_or_obj", "store", "urls")
# Drivers of catalogs, by the end of their names.
_CATALOGS: Final = ("yaml_file_cat", "yaml_files_cat", "YAMLFileCatalog", "catalog")
_DATASTORES: Final = ("esm_datastore",)
_TEMPLATE: Final = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_FIELD: Final = re.compile(r"\{([^{}]*)\}")
_REFERENCE: Final = re.compile(r"data\(([^)]+)\)")
_MOST_EXPANSIONS: Final = 100
_DEEPEST_ARGUMENTS: Final = 8


class FirstReader:
    """Reads catalogs with ``sources:``: files as YAML parses them, or opened by Intake."""

    def read(
        self, catalog: Any, levels: tuple[Level, ...], reached: Reached
    ) -> Iterable[Entry] | None:
        """List the entries of a catalog; None if it is of another kind."""
        if isinstance(catalog, Mapping):
            document = catalog
            if not isinstance(document.get("sources"), Mapping) or "version" in document:
                return None
        elif hasattr(type(catalog), "_get_entries") or hasattr(catalog, "_entries"):
            document = _first_document(catalog)
            levels = (*_enclosing(catalog), *levels)
        else:
            return None
        return self._entries(document, levels, reached)

    def _entries(
        self, document: Mapping[str, Any], levels: tuple[Level, ...], reached: Reached
    ) -> Iterator[Entry]:
        inherited = (*levels, _level(document, reached))
        directory = str(document.get(DIRECTORY) or "")
        for name, given in mapping(document["sources"]).items():
            source = mapping(given)
            where = f"{inherited[-1].where}, entry {str(name)!r}"
            own = (*inherited, Level(metadata=mapping(source.get("metadata")), where=where))
            driver = source.get("driver")
            drivers = [driver] if isinstance(driver, str) else list(driver or ())
            if any(str(each).endswith(_CATALOGS) for each in drivers):
                yield from self._nested(str(name), source, own, directory, reached)
                continue
            if any(str(each).endswith(_DATASTORES) for each in drivers):
                problem = "a datastore of intake-esm: open it, and learn from it by itself"
                yield Entry(
                    name=reached.name(str(name)),
                    levels=own,
                    problem=problem,
                    at=("sources", str(name)),
                )
                continue
            yield _entry(
                reached.name(str(name)),
                own,
                mapping(source.get("args")),
                parameters=_parameters(source.get("parameters")),
                template=_TEMPLATE,
                directory=directory,
                at=("sources", str(name)),
            )

    def _nested(
        self,
        name: str,
        source: Mapping[str, Any],
        levels: tuple[Level, ...],
        directory: str,
        reached: Reached,
    ) -> Iterator[Entry]:
        args = mapping(source.get("args"))
        path = args.get("path")
        problem: str | None
        if not isinstance(path, str):
            problem = "a catalog of several files, or of none"
        else:
            path = _fill(path, {"CATALOG_DIR": [directory]}, _TEMPLATE)[0]
            problem = reached.enter(posixpath.normpath(path))
            if problem is None:
                try:
                    document = reached.open(path, mapping(args.get("storage_options")))
                except LocalityError as err:
                    problem = str(err)
                else:
                    inner = reached.below(name)
                    entries = self.read(document, levels, inner) or SecondReader().read(
                        document, levels, inner
                    )
                    if entries is not None:
                        yield from entries
                        return
                    problem = f"{without_secrets(path)!r} is no catalog"
        yield Entry(name=reached.name(name), levels=levels, problem=problem)


class SecondReader:
    """Reads catalogs with ``version: 2``."""

    def read(
        self, catalog: Any, levels: tuple[Level, ...], reached: Reached
    ) -> Iterable[Entry] | None:
        """List the entries of a catalog; None if it is of another kind."""
        if isinstance(catalog, Mapping):
            if catalog.get("version") != 2 or "data" not in catalog:
                return None
            return self._entries(catalog, levels, reached)
        if getattr(catalog, "version", None) == 2 and hasattr(catalog, "aliases"):
            return self._entries(_second_document(catalog), levels, reached)
        return None

    def _entries(
        self, document: Mapping[str, Any], levels: tuple[Level, ...], reached: Reached
    ) -> Iterator[Entry]:
        inherited = (*levels, _level(document, reached))
        directory = str(document.get(DIRECTORY) or "")
        data, readers = mapping(document.get("data")), mapping(document.get("entries"))
        aliases = {token: name for name, token in mapping(document.get("aliases")).items()}
        used: set[str] = set()
        pairs: list[tuple[str, str, Mapping[str, Any]]] = []
        for token, reader in readers.items():
            for reference in _references(mapping(reader).get("kwargs"), _DEEPEST_ARGUMENTS):
                if reference in data and reference not in used:
                    used.add(reference)
                    pairs.append((str(aliases.get(token, token)), reference, mapping(reader)))
        pairs += [(str(token), token, {}) for token in data if token not in used]
        for name, reference, reader in pairs:
            described = mapping(data[reference])
            where = f"{inherited[-1].where}, entry {name!r}"
            own = [
                Level(metadata=mapping(each.get("metadata")), where=where)
                for each in (described, reader)
            ]
            yield _entry(
                reached.name(name),
                (*inherited, *own),
                mapping(described.get("kwargs")),
                parameters={},
                template=_FIELD,
                directory=directory,
                at=("data", str(reference)),
            )


def _entry(
    name: str,
    levels: tuple[Level, ...],
    args: Mapping[str, Any],
    *,
    parameters: Mapping[str, list[str]],
    template: re.Pattern[str],
    directory: str,
    at: tuple[str, ...],
) -> Entry:
    """Make the entry of what a driver would be given."""
    given = next((args[key] for key in _URLS if args.get(key)), None)
    urls = [given] if isinstance(given, str) else given
    if not isinstance(urls, list | tuple) or not all(isinstance(url, str) for url in urls):
        return Entry(name=name, levels=levels, problem="it names no URL", at=at)
    values = {"CATALOG_DIR": [directory], **parameters}
    stores: dict[Store, None] = {}
    try:
        for url in itertools.chain.from_iterable(_fill(url, values, template) for url in urls):
            stores[Store.from_url(url, mapping(args.get("storage_options")))] = None
    except LocalityError as err:
        return Entry(name=name, levels=levels, problem=shown(err), at=at)
    known = [store for store in stores if _is_a_place(store)]
    if not known:
        problem = "what it names depends on a parameter"
        if any(store.protocol == "reference" for store in stores):
            problem = "a set of references: what they lead to is known when it is opened"
        return Entry(name=name, levels=levels, problem=problem, at=at)
    return Entry(name=name, levels=levels, stores=tuple(known), at=at)


def _is_a_place(store: Store) -> bool:
    """Whether a store is one, and not the whole of a machine or a cloud."""
    if store.protocol == "reference":
        return False
    return bool(store.path if store.protocol in ("file", "memory") else store.bucket)


def _fill(url: str, values: Mapping[str, list[str]], template: re.Pattern[str]) -> list[str]:
    """Fill in what is certain, and cut a URL before what is not."""
    names = dict.fromkeys(match[1].strip() for match in template.finditer(url))
    known = [name for name in names if values.get(name)]
    if math.prod(len(values[name]) for name in known) > _MOST_EXPANSIONS:
        known = [name for name in known if len(values[name]) == 1]
    filled: dict[str, None] = {}
    for chosen in itertools.product(*(values[name] for name in known)):
        text = dict(zip(known, chosen, strict=True))
        whole = template.sub(lambda match: text.get(match[1].strip(), match[0]), url)  # noqa: B023
        left = [match.start() for each in (template, _FIELD) if (match := each.search(whole))]
        if left:
            # Up to the last whole name: "s3://bucket/model-" is a part of one. A field in
            # single braces is a pattern of intake-xarray's.
            whole = whole[: min(left)].rpartition("/")[0]
        filled[whole or "."] = None
    return [each for each in filled if each != "."] or [""]


def _parameters(given: Any) -> dict[str, list[str]]:
    """List what parameters may be, where the catalog lists it."""
    return {
        str(name): [str(value) for value in facts["allowed"]]
        for name, facts in mapping(given).items()
        if isinstance(facts, Mapping)
        and isinstance(facts.get("allowed"), list)
        and facts["allowed"]
        and all(isinstance(value, str | int) for value in facts["allowed"])
    }


def _references(value: Any, depth: int) -> Iterator[str]:
    """Find the names of data in the arguments of a reader."""
    if isinstance(value, str):
        yield from _REFERENCE.findall(value)
    elif depth and isinstance(value, Mapping):
        for each in value.values():
            yield from _references(each, depth - 1)
    elif depth and isinstance(value, list | tuple | set):
        for each in value:
            yield from _references(each, depth - 1)


def _level(document: Mapping[str, Any], reached: Reached) -> Level:
    name = ".".join(reached.path) or document.get("name") or "without a name"
    return Level(
        metadata=mapping(document.get("metadata")),
        where=f"catalog {without_secrets(str(name))!r}",
    )


def _enclosing(catalog: Any) -> list[Level]:
    """List the metadata of the catalogs that an opened one came from."""
    found: list[Level] = []
    outer = getattr(catalog, "cat", None)
    while outer is not None and len(found) < _DEEPEST_ARGUMENTS:
        name = without_secrets(str(outer.name or "without a name"))
        found.insert(0, Level(metadata=mapping(outer.metadata), where=f"catalog {name!r}"))
        outer = outer.cat
    return found


def _first_document(catalog: Any) -> dict[str, Any]:
    entries = getattr(catalog, "_entries", None) or catalog._get_entries()
    directory = ""
    sources: dict[str, Any] = {}
    for name in entries:
        entry = entries[name]
        # Of an entry what the file says, of a source what it was made with.
        args = getattr(entry, "_open_args", None)
        if args is None:
            args = getattr(entry, "_captured_init_kwargs", {})
        parameters = getattr(entry, "_user_parameters", None) or ()
        directory = directory or str(getattr(entry, "_catalog_dir", "") or "")
        metadata = getattr(entry, "_metadata", None)
        sources[name] = {
            "driver": getattr(entry, "_driver", None),
            "args": args,
            "metadata": getattr(entry, "metadata", {}) if metadata is None else metadata,
            "parameters": {
                each.name: {"allowed": each.allowed}
                for each in parameters
                if hasattr(each, "allowed")
            },
        }
    return {
        "name": catalog.name or getattr(catalog, "path", None),
        "metadata": catalog.metadata or {},
        "sources": sources,
        DIRECTORY: directory,
    }


def _second_document(catalog: Any) -> dict[str, Any]:
    path = str(catalog.user_parameters.get("CATALOG_PATH") or "")
    return {
        "name": catalog.metadata.get("name") or posixpath.basename(path),
        "metadata": catalog.metadata,
        "data": {token: vars(each) for token, each in catalog.data.items()},
        "entries": {token: vars(each) for token, each in catalog.entries.items()},
        "aliases": catalog.aliases,
        DIRECTORY: catalog.user_parameters.get("CATALOG_DIR"),
    }
