"""The data of the demonstration are what it says they are."""

from __future__ import annotations

import numpy as np
import pytest

from xr_locality.demo.datasets import daily_field, model_run


class TestModelRun:
    @pytest.mark.parametrize("scenario", ["A1B", "E1"])
    def test_is_the_real_one(self, scenario: str) -> None:
        """A run holds 240 yearly maps in a calendar of 360 days, and no scalar coordinates."""
        run = model_run(scenario)
        temperature = run.air_temperature
        assert temperature.sizes == {"time": 240, "latitude": 37, "longitude": 49}
        assert temperature.attrs["units"] == "K"
        assert run.time.dt.calendar == "360_day"
        assert [int(run.time.dt.year[edge]) for edge in (0, -1)] == [1860, 2099]
        assert set(run.coords) == {"time", "latitude", "longitude"}

    def test_scenarios_differ(self) -> None:
        """At the end of the century it is warmer under A1B."""
        last = {name: float(model_run(name).air_temperature[-1].mean()) for name in ("A1B", "E1")}
        assert last["A1B"] > last["E1"] + 1


class TestDailyField:
    @pytest.mark.parametrize("nbytes", [1, 10_196_640, 10_196_641])
    def test_is_as_large_as_asked(self, nbytes: int) -> None:
        """A field has at least the bytes asked for, in whole years up to the end of 2099."""
        field = daily_field(nbytes=nbytes, warming=0, seed=0)
        years = 2 if nbytes > 10_196_640 else 1
        assert field.tas.nbytes == years * 10_196_640
        assert [int(field.time.dt.year[edge]) for edge in (0, -1)] == [2100 - years, 2099]

    def test_does_not_compress_away(self) -> None:
        """Chunks are stored as they are, one a year."""
        encoding = daily_field(nbytes=1, warming=0, seed=0).tas.encoding
        assert encoding["compressors"] is None
        assert encoding["chunks"] == (360, 73, 97)

    def test_is_deterministic(self) -> None:
        """The same seed gives the same field, another seed another of the same climate."""
        one, same, other = (daily_field(nbytes=1, warming=0, seed=seed) for seed in (1, 1, 2))
        assert one.identical(same)
        assert not one.equals(other)
        assert abs(float(one.tas.mean() - other.tas.mean())) < 0.1

    def test_seasons_and_warming(self) -> None:
        """July is warmer than January, the south than the north, one climate than another."""
        field = daily_field(nbytes=1, warming=0, seed=1)
        months = field.tas.groupby("time.month").mean()
        assert np.all(months.sel(month=7).mean("lon") > months.sel(month=1).mean("lon") + 15)
        assert field.tas.sel(lat=15).mean() > field.tas.sel(lat=60).mean() + 25
        warmer = daily_field(nbytes=1, warming=2, seed=1)
        assert float((warmer - field).tas.mean()) == pytest.approx(2, abs=0.01)
