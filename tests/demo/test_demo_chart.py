"""A map drawn with characters."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xr_locality.demo.chart import draw_map


def make_map(values: list[list[float]]) -> xr.DataArray:
    """Make a map from rows, the southernmost first."""
    array = np.array(values)
    return xr.DataArray(
        array,
        dims=("latitude", "longitude"),
        coords={
            "latitude": 10.0 + 10.0 * np.arange(array.shape[0]),
            "longitude": np.linspace(225.0, 315.0, array.shape[1]),
        },
    )


def test_north_is_at_the_top() -> None:
    """Two rows become one line, its latitude between them, the last one first."""
    south, north = [1.0] * 12, [4.0] * 12
    drawn = draw_map(make_map([south, south, north, north])).plain.splitlines()
    assert drawn == [
        f" 35°N {'4' * 12}",
        f" 15°N {'1' * 12}",
        "      135°W   45°W",
    ]


def test_digits_are_rounded_degrees() -> None:
    """A digit is the nearest whole degree; what is no digit is a star, what is missing blank."""
    row = [0.4, 0.6, 4.9, 9.4, -2.0, 12.0, float("nan")] + [0.0] * 5
    first, *_ = draw_map(make_map([row, row])).plain.splitlines()
    assert first.split(" ", 2)[2] == "0159** 00000"


def test_an_odd_row_is_drawn() -> None:
    """The last of an odd number of rows has a line of its own."""
    drawn = draw_map(make_map([[1.0] * 12, [1.0] * 12, [3.0] * 12])).plain.splitlines()
    assert drawn[0] == f" 30°N {'3' * 12}"


def test_colours_go_with_degrees() -> None:
    """Cells of different degrees differ in colour, and those past the scale have its last."""
    drawn = draw_map(make_map([[1.0, 3.0, 8.0, 9.0] + [1.0] * 8] * 2))
    styles = {drawn.plain[span.start]: str(span.style) for span in drawn.spans}
    assert styles["1"] != styles["3"] != styles["8"] == styles["9"]
