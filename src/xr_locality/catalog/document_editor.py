"""Text of a YAML document with keys added to some of its mappings, and nothing else changed.

The document is parsed once; what is added is collected, and written into the text from
its end to its beginning, so that the places that the parser named stay true.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from xr_locality.errors import ConfigurationError

__all__ = ["Editor"]

_MERGE: Final = "<<"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """Text to put between two places."""

    start: int
    end: int
    text: str


class Editor:
    """The text of a document of YAML, and what is to be added to it.

    Parameters
    ----------
    text : str
        The document, which can be parsed.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._root = yaml.compose(text, Loader=yaml.SafeLoader)
        self._uses = Counter(id(node) for node in _children(self._root))
        self._changes: list[_Change] = []

    def insert(self, at: tuple[str, ...], facts: Mapping[str, Any]) -> None:
        """Add a tag to the metadata of the mapping that a path of keys leads to.

        Parameters
        ----------
        at : tuple of str
            The keys, from the top of the document.
        facts : mapping
            What to write under ``metadata``, ``locality``; keys that are there stay.

        Raises
        ------
        ConfigurationError
            If there is no mapping, or its text also is that of another one.
        """
        node: Any = self._root
        for key in at:
            node = self._own(_value(node, key))
        if not isinstance(node, yaml.MappingNode):
            raise ConfigurationError("it is no mapping")
        missing = ["metadata", "locality"]
        while missing:
            inner = self._own(_value(node, missing[0]))
            if inner is None:
                break
            if _is_empty(inner):
                value = _flow(_nested(missing[1:], facts))
                start, end = inner.start_mark.index, inner.end_mark.index
                space = "" if self._text[start - 1].isspace() else " "
                self._changes.append(_Change(start=start, end=end, text=f"{space}{value}"))
                return
            if not isinstance(inner, yaml.MappingNode):
                raise ConfigurationError(f"its {missing[0]} is no mapping")
            node = inner
            missing.pop(0)
        addition = facts if not missing else {missing[0]: _nested(missing[1:], facts)}
        new = {name: each for name, each in addition.items() if _value(node, name) is None}
        if any(_is_merged(node, name) for name in new):
            raise ConfigurationError(f"it takes its {next(iter(new))} from elsewhere (<<)")
        if new:
            self._changes.append(self._add(node, new))

    def text(self) -> str:
        """Return the text with all that was added."""
        text = self._text
        for each in sorted(self._changes, key=lambda change: change.start, reverse=True):
            text = f"{text[: each.start]}{each.text}{text[each.end :]}"
        return text

    def _own(self, node: Any) -> Any:
        """Refuse a node that stands in several places of the document."""
        if node is not None and self._uses[id(node)] > 1:
            raise ConfigurationError(
                "it shares its text with another part of the file (&, *): write its region by hand"
            )
        return node

    def _add(self, node: yaml.MappingNode, new: Mapping[str, Any]) -> _Change:
        """Add keys to a mapping: before its brace, or after its last line."""
        pairs = [f"{name}: {_flow(value)}" for name, value in new.items()]
        if node.flow_style or not node.value:
            end = node.end_mark.index - 1
            before = self._text[:end].rstrip()
            comma = "" if before.endswith(("{", ",")) else ","
            space = "" if before.endswith("{") else " "
            # The spaces before the brace go, line ends stay.
            left = self._text[len(before) : end].lstrip(" ")
            return _Change(
                start=len(before), end=end, text=f"{comma}{space}{', '.join(pairs)}{left}"
            )
        newline = "\r\n" if "\r\n" in self._text else "\n"
        indent = " " * node.value[0][0].start_mark.column
        end = self._end_of(node)
        lines = "".join(f"{indent}{pair}{newline}" for pair in pairs)
        if end and self._text[end - 1] != "\n":
            lines = newline + lines
        return _Change(start=end, end=end, text=lines)

    def _end_of(self, node: yaml.Node) -> int:
        """Find the end of the last line of a mapping in blocks, before blank lines and comments."""
        while isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
            start = node.start_mark.index
            last = node.value[-1]
            node = last[1] if isinstance(last, tuple) else last
            if isinstance(last, tuple) and (
                _is_nothing(node) or node.start_mark.index < last[0].start_mark.index
            ):
                # Nothing, or an alias, which stands on its key's line: its node is elsewhere.
                node = last[0]
            elif node.start_mark.index < start:
                raise ConfigurationError("it ends with a reference to another part (*)")
        end: int = node.end_mark.index
        if end and self._text[end - 1] == "\n":
            return end
        newline = self._text.find("\n", end)
        return len(self._text) if newline < 0 else newline + 1


def _children(root: yaml.Node | None) -> Iterator[yaml.Node]:
    """List what the nodes of a document hold, each node's own once, an alias's again."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
            continue
        seen.add(id(node))
        for each in node.value:
            inner = each if isinstance(each, tuple) else (each,)
            waiting += inner
            yield from inner


def _is_merged(node: yaml.MappingNode, key: str) -> bool:
    """Return whether a mapping takes a key from another one (``<<``)."""
    merged = _value(node, _MERGE)
    others = merged.value if isinstance(merged, yaml.SequenceNode) else [merged]
    return any(
        isinstance(other, yaml.MappingNode)
        and (_value(other, key) is not None or _is_merged(other, key))
        for other in others
    )


def _value(node: yaml.Node, key: str) -> Any:
    if not isinstance(node, yaml.MappingNode):
        return None
    for name, value in node.value:
        if isinstance(name, yaml.ScalarNode) and name.value == key:
            return value
    return None


def _is_nothing(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.value == "" and node.style is None


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _nested(names: list[str], facts: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = dict(facts)
    for name in reversed(names):
        nested = {name: nested}
    return nested


def _flow(value: Any) -> str:
    """Write a value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    # Region's canonical names need no quotes: a colon without a space is none of YAML's.
    return str(value)
