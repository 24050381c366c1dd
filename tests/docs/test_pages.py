"""What the documentation's pages say, held against the package."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Any

import dask
import jsonschema
import pytest
import yaml

import xr_locality
from xr_locality import config
from xr_locality.placement.costs import CostModel
from xr_locality.regions import Region, Rules

ROOT = Path(__file__).parents[2]
PACKAGE = Path(xr_locality.__file__).parent
PAGES = [*sorted((ROOT / "docs").glob("*/*.md")), ROOT / "docs" / "index.md"]
BLOCK = re.compile(r"^```(\S+).*?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """List a page's blocks in a language."""
    found = BLOCK.findall(page.read_text("utf-8"))
    return [content for name, content in found if name == language]


def settings() -> list[Any]:
    """List every configuration that README or a page shows."""
    shown = []
    for page in [*PAGES, ROOT / "README.md"]:
        for number, content in enumerate(blocks(page, "yaml")):
            parsed = yaml.safe_load(content)
            if "locality" in parsed:
                name = f"{page.relative_to(ROOT)}:{number}"
                shown.append(pytest.param(parsed, id=name))
    return shown


_HUBS_OWN = "https://hub.example.org/services/dask-gateway"


def test_every_public_name_is_in_the_reference() -> None:
    """The API reference lists each name of the package."""
    reference = (ROOT / "docs/reference/api.md").read_text("utf-8")
    listed = set(re.findall(r"^   (\w+)$", reference, re.MULTILINE))
    assert set(xr_locality.__all__) - {"errors", "__version__"} <= listed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_runs(page: Path) -> None:
    """A page shows Python only in cells, which run while it is built."""
    assert blocks(page, "python") == []


@pytest.mark.parametrize("shown", settings())
def test_configuration_is_accepted(shown: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Configuration that is shown fits the schema, and every part of it is understood."""
    monkeypatch.setenv("HUB_A_TOKEN", "token-a")
    monkeypatch.setenv("HUB_B_TOKEN", "token-b")
    monkeypatch.setenv("HUB_B_PASSWORD", "password")
    # As on a hub, for pages that name its own gateway.
    monkeypatch.setenv("JUPYTERHUB_USER", "ada")
    schema = resources.files("xr_locality").joinpath("locality-schema.yaml").read_text("utf-8")
    jsonschema.validate(shown, yaml.safe_load(schema))
    given = {name.replace("-", "_"): value for name, value in shown["locality"].items()}
    understood = config.read(**given)
    Rules.parse(understood.rules)
    CostModel(understood.prices, links=understood.links)
    with dask.config.set({"gateway.address": _HUBS_OWN}):
        session = xr_locality.Session(understood.endpoints)
    assert session.regions == tuple(sorted(map(Region.parse, understood.endpoints)))


@pytest.mark.parametrize("name", ["explanation/architecture.md", "_static/architecture.svg"])
def test_modules_named_exist(name: str) -> None:
    """The modules and folders that the architecture names are there."""
    text = (ROOT / "docs" / name).read_text("utf-8")
    named = set(re.findall(r"\b(?:[a-z_]+/)*[a-z_]+\.py\b|(?<![\w./])[a-z_]+/(?=[`<])", text))
    assert len(named) > 10
    assert {each for each in named if not (PACKAGE / each).exists()} == set()
