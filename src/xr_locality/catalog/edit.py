"""Regions written into a catalog's file, whose other bytes stay as they are.

The file is edited as text, at places that YAML's parser names: comments, order, quotes
and line ends stay. The result is parsed again, and is written only if it says what the
file said before and the new tags, nothing else.
"""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from xr_locality.catalog.document_editor import Editor
from xr_locality.catalog.entries import Entry, Reached, shown
from xr_locality.catalog.files import parse_document
from xr_locality.catalog.intake import FirstReader, SecondReader
from xr_locality.errors import ConfigurationError, LocalityError
from xr_locality.regions.chain import Chain
from xr_locality.regions.lookup import Lookup
from xr_locality.session import current_session

__all__ = ["TaggedFile", "tag_file"]

_MOST_NODES: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedFile:
    """What was written into a catalog's file.

    Attributes
    ----------
    path : Path
        The file.
    added : Mapping of str to Lookup
        Entries that were given a region, and how it is known.
    tagged : tuple of str
        Entries that had one, their own or inherited.
    unknown : Mapping of str to str
        Entries whose region is unknown, and why.
    problems : Mapping of str to str
        Entries that cannot be tagged, and why.
    written : bool
        Whether the file was changed.
    """

    path: Path
    added: Mapping[str, Lookup]
    tagged: tuple[str, ...]
    unknown: Mapping[str, str]
    problems: Mapping[str, str]
    written: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, ready for JSON."""
        return {
            "path": str(self.path),
            "written": self.written,
            "added": {name: each.to_dict() for name, each in self.added.items()},
            "tagged": list(self.tagged),
            "unknown": dict(self.unknown),
            "problems": dict(self.problems),
        }

    def to_text(self) -> str:
        """Return it as lines for people."""
        lines = [f"{name}: {each.region} ({each.evidence})" for name, each in self.added.items()]
        lines += [f"{name}: unknown ({why})" for name, why in self.unknown.items()]
        lines += [f"{name}: not tagged ({why})" for name, why in self.problems.items()]
        done = "written" if self.written else "not changed"
        lines.append(
            f"{self.path}: {len(self.added)} added, {len(self.tagged)} had one, "
            f"{len(self.unknown)} unknown, {len(self.problems)} not tagged; {done}"
        )
        return "\n".join(lines)


def tag_file(path: str | Path, *, dry_run: bool = False, **policy: Any) -> TaggedFile:
    """Write the regions of its entries into a catalog of Intake's, as far as they are known.

    Entries that have a region, their own or their catalog's, stay as they are; so do
    files of this machine, which other machines do not have. Catalogs inside the
    catalog are files of their own.

    Parameters
    ----------
    path : str or Path
        A file of this machine.
    dry_run : bool, default False
        Whether to leave the file as it is.
    **policy : Any
        Settings for this call, such as ``probe`` and ``rules``.

    Returns
    -------
    TaggedFile

    Raises
    ------
    ConfigurationError
        If it is no catalog of Intake's, or cannot be edited.
    """
    # A link stays one: what it leads to is replaced.
    path = Path(path)
    target = path.resolve()
    text = _read(target)
    document = parse_document(text, path.name)
    entries = _entries(document)
    chain = Chain.from_settings(current_session().settings(**policy))
    chain.ask(store for entry in entries for store in entry.stores)
    added: dict[str, Lookup] = {}
    tagged: list[str] = []
    unknown: dict[str, str] = {}
    problems: dict[str, str] = {}
    wanted = _unshared(document)
    editor = Editor(text)
    for entry in entries:
        try:
            if entry.problem is not None or entry.at is None:
                raise ConfigurationError(entry.problem or "it is in another file")
            if not _lacks_region(entry):
                entry.tag()
                tagged.append(entry.name)
                continue
            found = _look_up(chain, entry)
            if found.region is None or found.region.is_local:
                unknown[entry.name] = found.evidence
                continue
            facts = _facts(found)
            editor.insert(entry.at, facts)
            _set(wanted, entry.at, facts)
            added[entry.name] = found
        except LocalityError as err:
            problems[entry.name] = shown(err)
    edited = editor.text()
    if added and _unshared(parse_document(edited, path.name)) != wanted:
        raise ConfigurationError(
            f"{path.name!r} cannot be edited without changing something else: it shares parts of "
            "entries (&, *, <<), or has comments inside braces. Write these tags by hand: "
            f"{', '.join(f'{name} {each.region}' for name, each in added.items())}.",
            path=str(path),
        )
    if added and not dry_run:
        _replace(target, edited)
    return TaggedFile(
        path=path,
        added=MappingProxyType(added),
        tagged=tuple(tagged),
        unknown=MappingProxyType(unknown),
        problems=MappingProxyType(problems),
        written=bool(added) and not dry_run,
    )


def _entries(document: Mapping[str, Any]) -> list[Entry]:
    def refuse(url: str, options: Mapping[str, Any]) -> Any:
        raise ConfigurationError("a catalog of its own: tag its file")

    for reader in (SecondReader(), FirstReader()):
        found = reader.read(document, (), Reached(open=refuse))
        if found is not None:
            return list(found)
    raise ConfigurationError("The file is no catalog of Intake's: it has no 'sources' or 'data'.")


def _lacks_region(entry: Entry) -> bool:
    """Whether neither an entry nor its catalog says where the data are."""
    for level in entry.levels:
        locality = level.metadata.get("locality")
        if locality is not None and not isinstance(locality, Mapping):
            return False
        if isinstance(locality, Mapping) and "region" in locality:
            return False
    try:
        return entry.tag() is None
    except LocalityError as err:
        # A tag without a region lacks one; what else is wrong is for a person.
        if "without a region" in str(err):
            return True
        raise


def _look_up(chain: Chain, entry: Entry) -> Lookup:
    found = [chain.look_up(store) for store in entry.stores]
    regions = {each.region for each in found}
    if len(regions) > 1:
        names = ", ".join(sorted(str(region or "unknown") for region in regions))
        raise ConfigurationError(f"its URLs lie in several regions: {names}")
    return found[0]


def _facts(found: Lookup) -> dict[str, Any]:
    facts: dict[str, Any] = {"region": str(found.region)}
    if found.detection is not None and found.detection.requester_pays:
        facts["requester_pays"] = True
    return facts


def _set(document: Any, at: tuple[str, ...], facts: Mapping[str, Any]) -> None:
    for key in at:
        document = document[next(name for name in document if str(name) == key)]
    for key in ("metadata", "locality"):
        if document.get(key) is None:
            document[key] = {}
        document = document[key]
    for key, value in facts.items():
        document.setdefault(key, value)


def _unshared(value: Any) -> Any:
    """Copy a document so that no part of it is in two places."""
    budget = iter(range(_MOST_NODES))

    def take(value: Any) -> Any:
        if next(budget, None) is None:
            raise ConfigurationError("The file repeats parts of itself too often to be edited.")
        if isinstance(value, dict):
            return {key: take(each) for key, each in value.items()}
        if isinstance(value, list):
            return [take(each) for each in value]
        return copy.copy(value)

    return take(dict(value))


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigurationError(
            f"The catalog {path.name!r} cannot be read: {type(err).__name__}."
        ) from None


def _replace(path: Path, text: str) -> None:
    """Replace a file as a whole, so that it is never half written."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")
    new = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("utf-8"))
        new.chmod(path.stat().st_mode & 0o7777)
        new.replace(path)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise
