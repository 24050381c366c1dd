"""A map drawn with characters."""

from __future__ import annotations

import math
from typing import Final

import xarray as xr
from rich.text import Text

__all__ = ["draw_map"]

#: Backgrounds from 0 K to 5 K and more, on terminals that have colours.
_COLOURS: Final = (
    "color(230)",
    "color(223)",
    "color(216)",
    "color(209)",
    "color(203)",
    "color(160)",
)
_MARGIN: Final = 6


def draw_map(values: xr.DataArray) -> Text:
    """Draw a map of degrees: one digit a cell, north at the top.

    Parameters
    ----------
    values : xarray.DataArray
        In K, over ``latitude`` in degrees north and ``longitude`` in degrees east.
        Rows are merged two by two: a character is twice as high as wide.

    Returns
    -------
    rich.text.Text
        Lines; the digits are whole degrees, rounded.
    """
    merged = values.coarsen(latitude=2, boundary="pad").mean()
    rows = merged.sortby("latitude", ascending=False).transpose("latitude", "longitude")
    drawn = Text()
    for row in rows:
        drawn.append(f"{_north(float(row.latitude)):>{_MARGIN - 1}} ")
        for value in row.values:
            drawn.append(*_cell(float(value)))
        drawn.append("\n")
    west, east = (_east(float(rows.longitude[edge])) for edge in (0, -1))
    gap = " " * (rows.sizes["longitude"] - len(west) - len(east))
    drawn.append(f"{' ' * _MARGIN}{west}{gap}{east}")
    return drawn


def _cell(kelvin: float) -> tuple[str, str]:
    if math.isnan(kelvin):
        return " ", ""
    degrees = round(kelvin)
    background = _COLOURS[min(max(degrees, 0), len(_COLOURS) - 1)]
    return (f"{degrees}" if 0 <= degrees <= 9 else "*"), f"black on {background}"


def _north(degrees: float) -> str:
    return f"{abs(degrees):.0f}°{'N' if degrees >= 0 else 'S'}"


def _east(degrees: float) -> str:
    west = (degrees + 180) % 360 - 180
    return f"{abs(west):.0f}°{'E' if west >= 0 else 'W'}"
