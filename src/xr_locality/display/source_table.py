"""Sources as a small table."""

from __future__ import annotations

from html import escape

from dask.utils import format_bytes

from xr_locality.plan.survey import Source

__all__ = ["SourceTable", "columns"]

_HEADINGS = ("url", "region", "evidence", "variables", "stored")


class SourceTable(tuple[Source, ...]):
    """A tuple of sources that shows itself as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self:
            return "<no stored data>"
        rows = [_HEADINGS, *(_row(source) for source in self)]
        return "\n".join(columns(rows))

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(heading)}</th>" for heading in _HEADINGS)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _row(source)) + "</tr>"
            for source in self
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def columns(rows: list[tuple[str, ...]]) -> list[str]:
    """Pad the cells of rows so that they stand in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _row(source: Source) -> tuple[str, ...]:
    stored = source.nbytes
    return (
        source.url,
        "unknown" if source.region is None else str(source.region),
        source.evidence,
        ", ".join(source.variables),
        "unknown" if stored is None else format_bytes(stored),
    )
