"""The directive ``settings``: the configuration reference, from the shipped schema."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from xr_locality.config import Settings


class SettingsDirective(SphinxDirective):
    """Describes each setting in the order of the schema."""

    def run(self) -> list[nodes.Node]:
        """Make the descriptions."""
        schema, defaults = (_load(name) for name in ("locality-schema.yaml", "locality.yaml"))
        settings = schema["properties"]["locality"]["properties"]
        lines: list[str] = []
        for name, facts in settings.items():
            lines += _entry(name, facts, defaults["locality"][name])
        described = nodes.container()
        self.state.nested_parse(StringList(lines, "locality-schema.yaml"), 0, described)
        return described.children


def _load(name: str) -> Any:
    return yaml.safe_load(resources.files("xr_locality").joinpath(name).read_text("utf-8"))


def _entry(name: str, facts: dict[str, Any], default: Any) -> list[str]:
    keyword = name.replace("-", "_")
    assert keyword in Settings.__dataclass_fields__
    return [
        f":::{{confval}} {name}",
        f":type: {_type(facts)}",
        f":default: `{json.dumps(default)}`",
        "",
        " ".join(facts["description"].split()),
        "",
        *_keys(facts.get("additionalProperties")),
        f"As a keyword argument: `{keyword}=`.",
        f"As an environment variable: `DASK_LOCALITY__{keyword.upper()}`.",
        ":::",
        "",
    ]


def _type(facts: dict[str, Any]) -> str:
    if "enum" in facts:
        return " | ".join(f"`{each}`" for each in facts["enum"])
    kinds = facts["type"] if isinstance(facts["type"], list) else [facts["type"]]
    words = {"object": "mapping", "string": "text", "integer": "whole number"}
    return " | ".join(words.get(kind, kind) for kind in kinds)


def _keys(described: Any) -> list[str]:
    """List the keys of mappings that a setting's values may be."""
    if not isinstance(described, dict):
        return []
    lines = []
    for form in (described, *described.get("oneOf", ())):
        for key, facts in form.get("properties", {}).items():
            needed = " (required)" if key in form.get("required", ()) else ""
            lines.append(f"- `{key}`{needed}: {' '.join(facts['description'].split())}")
    return [*lines, ""]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("settings", SettingsDirective)
    return {"parallel_read_safe": True}
