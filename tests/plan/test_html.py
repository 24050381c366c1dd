from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from support.plan_builders import crossing
from xr_locality.display.plans import Plan
from xr_locality.display.reports import Report
from xr_locality.plan.model import Baseline

EVIL = '<script>alert("1")</script><img src=x onerror=alert(1)>&\'"'


class Page(HTMLParser):
    """Takes a page apart: its tags, what they hold, and whether they all end."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that what ends was begun last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note text outside of the style sheet and of the text for plain pages."""
        if not {"style", "pre"} & set(self.open):
            self.text.append(data)


def fail() -> Mapping[str, Baseline]:
    """Stand for a store that refuses to be listed."""
    raise OSError("no network")


class TestRender:
    def test_is_well_formed(self, plan: Plan) -> None:
        """Every tag that begins ends, in order."""
        page = Page(plan._repr_html_())
        assert not page.open
        assert page.tags.count("details") == 4

    def test_shows_what_text_shows(self, plan: Plan) -> None:
        """Every figure of the text is in the page, and so is the text itself."""
        html = plan._repr_html_()
        shown = " ".join(Page(html).text)
        text = plan.explain()
        figures = set(re.findall(r"\d[\d.,]* (?:kiB|ms|x|USD)", text))
        assert len(figures) > 8
        assert {figure for figure in figures if figure not in shown} == set()
        assert "tagged by hand" in shown
        assert "<pre" in html

    def test_fetches_nothing(self, plan: Plan) -> None:
        """A page needs no network and runs no script."""
        html = plan._repr_html_()
        page = Page(html)
        assert not {"script", "link", "img", "iframe"} & set(page.tags)
        assert not {"src", "href"} & {name for name, _ in page.attributes}
        assert "url(" not in html
        assert "@import" not in html

    def test_hidden_without_styles(self, plan: Plan) -> None:
        """Where a notebook drops the style sheet, the plain text is what shows."""
        html = plan._repr_html_()
        assert ("style", "display:none") in Page(html).attributes
        assert re.search(r"\.xl-wrap \{[^}]*display: block !important", html)
        assert re.search(r"\.xl-fallback \{\s*display: none", html)

    def test_styles_keep_to_themselves(self, plan: Plan) -> None:
        """Every rule names a class of ours, so that the rest of a notebook stays as it is."""
        (css,) = re.findall(r"<style>(.*?)</style>", plan._repr_html_(), re.DOTALL)
        without_comments = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
        selectors = [
            selector.strip()
            for group in re.findall(r"([^{}]+)\{", without_comments)
            for selector in group.split(",")
        ]
        assert len(selectors) > 20
        assert [each for each in selectors if ".xl-" not in each] == []

    @pytest.mark.parametrize("where", ["url", "evidence", "variable", "unknown", "key"])
    def test_escapes(self, plan: Plan, where: str) -> None:
        """What comes from data and catalogs is text, never markup."""
        source, boundary = plan.sources[0], plan.transfers[0]
        evil = {
            "url": {"sources": (replace(source, url=EVIL),)},
            "evidence": {"sources": (replace(source, evidence=EVIL),)},
            "variable": {"sources": (replace(source, variables=(EVIL,)),)},
            "unknown": {"unknowns": (EVIL,)},
            "key": {"transfers": crossing(replace(boundary, key=EVIL, why="remote-read"))},
        }
        page = Page(replace(plan, **evil[where])._repr_html_())
        assert not {"script", "img"} & set(page.tags)
        assert "onerror" not in {name for name, _ in page.attributes}
        assert EVIL in "".join(page.text)

    def test_bars(self, plan: Plan) -> None:
        """The way that moves most has the full bar, the others their share of it."""
        widths = re.findall(r"width:([\d.]+)%", plan._repr_html_())
        assert [float(width) for width in widths] == [1.0, 100.0, 50.5, 50.5]

    def test_many_sources_are_folded(self, plan: Plan) -> None:
        """Many sources are all there, and folded."""
        many = tuple(replace(plan.sources[0], url=f"s3://b/{i:03}") for i in range(30))
        page = Page(replace(plan, sources=many)._repr_html_())
        assert page.tags.count("details") == 5
        assert "s3://b/029 (t)" in page.text

    def test_failing_baselines(self, plan: Plan) -> None:
        """A store that cannot be listed does not keep the rest from being shown."""
        shown = Page(replace(plan, other_ways=fail)._repr_html_()).text
        assert "unknown" in shown
        assert "boundary" in shown


class TestRenderReport:
    def test_is_well_formed(self, make_report: Callable[..., Report]) -> None:
        """Every tag that begins ends, in order."""
        page = Page(make_report()._repr_html_())
        assert not page.open
        assert page.tags.count("details") == 4

    def test_shows_what_text_shows(self, make_report: Callable[..., Report]) -> None:
        """Predicted and measured bytes, regions, time and retries are in the page."""
        shown = Page(make_report(retries=3)._repr_html_()).text
        for text in ("predicted", "measured", "2.34 kiB", "4.69 kiB", "17", "3.00 s", "3 values"):
            assert text in shown
        assert "1.25 s for the whole run" in shown
