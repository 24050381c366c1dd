"""The questions of the demonstration, and the lines shown of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from xr_locality.demo.datasets import daily_field, model_run
from xr_locality.demo.questions import Question, difference, lines_of, warming


def entry(dataset: xr.Dataset) -> SimpleNamespace:
    """Stand for an entry of a catalog."""
    return SimpleNamespace(to_dask=dataset.chunk)


@pytest.fixture(scope="module")
def cat() -> Any:
    """Stand for the catalog: the same data, in memory."""
    return SimpleNamespace(
        a1b=entry(model_run("A1B")),
        e1=entry(model_run("E1")),
        daily_a1b=entry(daily_field(nbytes=1, warming=2, seed=1)),
        daily_e1=entry(daily_field(nbytes=1, warming=0, seed=2)),
    )


class TestWarming:
    def test_is_right(self, cat: Any) -> None:
        """The map and the average are those that numpy finds."""
        answer = warming(cat).compute()
        a1b, e1 = (model_run(name).air_temperature.values[-30:] for name in ("A1B", "E1"))
        expected = a1b.astype("f8").mean(axis=0) - e1.astype("f8").mean(axis=0)
        np.testing.assert_allclose(answer.warmer, expected, atol=1e-3)
        weights = np.cos(np.deg2rad(np.linspace(15, 60, 37)))[:, np.newaxis] * np.ones(49)
        average = np.average(expected, weights=weights)
        assert float(answer.average) == pytest.approx(average, abs=1e-3)
        assert float(answer.average) == pytest.approx(2.08, abs=0.01)


class TestDifference:
    def test_is_right(self, cat: Any) -> None:
        """The difference is that of the two climates, within the noise."""
        answer = difference(cat).compute()
        assert answer.tas.sizes == {"lat": 73, "lon": 97}
        assert float(answer.tas.mean()) == pytest.approx(2, abs=0.02)


@pytest.mark.parametrize("question", [warming, difference])
class TestLines:
    def test_is_lazy(self, question: Question, cat: Any) -> None:
        """Asking computes nothing."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dask.base.compute", None)
            asked = question(cat)
        assert all(variable.chunks is not None for variable in asked.data_vars.values())

    def test_lines_are_what_runs(self, question: Question, cat: Any) -> None:
        """The lines shown give what the function gives, under the function's name."""
        known: dict[str, Any] = {"cat": cat, "np": np, "xr": xr}
        exec(lines_of(question), known)
        xr.testing.assert_identical(known[question.__name__].compute(), question(cat).compute())

    def test_lines_are_plain(self, question: Question) -> None:
        """The lines shown neither define nor return nor explain anything."""
        lines = lines_of(question).splitlines()
        assert not [line for line in lines if line.startswith((" ", "def", "return", "#", '"'))]
        assert "locality" not in lines_of(question)
