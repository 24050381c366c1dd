from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from support.measured_sizes import BY_VALUES, LABELS, MASKS, NOTHING_KNOWN, Listed, check
from support.realistic import PROGRAMS, open_models, write_models
from support.sized_programs import ARRAYS, OBJECTS, XARRAYS
from xr_locality.config import TrialFunctions

#: Every program whose sizes are not all exact, with the reason and the bound.
LISTED: Final = {
    "boolean": BY_VALUES,
    "boolean rows": BY_VALUES,
    "boolean then": BY_VALUES,
    "unique": BY_VALUES,
    "unique counts": BY_VALUES,
    "nonzero": BY_VALUES,
    "extract": BY_VALUES,
    "argwhere": BY_VALUES,
    "triu_indices": BY_VALUES,
    "masked mean": MASKS,
    "from_delayed unknown": NOTHING_KNOWN,
    "store": Listed(why="what a task says that has written is not worth a rule", factor=2.0),
    "xarray map_blocks": LABELS,
    "xarray map_blocks dataset": LABELS,
    "xarray map_blocks reduce": LABELS,
    "frame": NOTHING_KNOWN,
    "frame groupby": NOTHING_KNOWN,
    "frame sum": NOTHING_KNOWN,
    "bag": NOTHING_KNOWN,
    "delayed": NOTHING_KNOWN,
    "delayed of array": NOTHING_KNOWN,
    # Realistic programs.
    "blended_blocks": LABELS,
    "blocks_of_a_dataset": LABELS,
    "masked_by_the_other": MASKS,
    "masked_values_crossing": MASKS,
    "means_by_latitude": NOTHING_KNOWN,
    "tables_joined": NOTHING_KNOWN,
    "tables_stacked": NOTHING_KNOWN,
    "rows_shuffled_by_tasks": NOTHING_KNOWN,
    "largest_of_blocks": NOTHING_KNOWN,
    "counts_by_sign": NOTHING_KNOWN,
}

#: Programs whose sizes only a trial of a function of the user's can show.
USERS: Final = frozenset(
    {
        "map_blocks wrong",
        "apply_gufunc two",
        "apply_ufunc grow",
        "apply_ufunc two",
        "frame to array",
        "series_detrended",
        "fitted_in_each_cell",
        "reduced_by_hand",
        "largest_of_blocks",
    }
)


def trials_of(name: str) -> TrialFunctions:
    """Choose whose functions are tried for a program."""
    return "all" if name in USERS else "known"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Programs warn of what they do, such as means of nothing; that is not looked at here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", ARRAYS)
def test_sizes_of_dask_arrays(name: str) -> None:
    """Every key's size is exact, or listed with a reason and a bound."""
    check(ARRAYS[name], LISTED.get(name), trials=trials_of(name))


@pytest.mark.parametrize("name", XARRAYS)
def test_sizes_of_xarray_objects(name: str) -> None:
    """Sizes are exact for what xarray makes of arrays: partials, groups, windows, joins."""
    if name.endswith("flox"):
        pytest.importorskip("flox")
    check(XARRAYS[name], LISTED.get(name), trials=trials_of(name))


@pytest.mark.parametrize("name", OBJECTS)
def test_sizes_of_other_collections(name: str) -> None:
    """DataFrames, Bags and Delayeds are guessed, and say so, but where they hold arrays."""
    if name.startswith("frame"):
        pytest.importorskip("dask.dataframe")
    check(OBJECTS[name], LISTED.get(name), trials=trials_of(name))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two datasets of realistic programs."""
    folder: Path = tmp_path_factory.mktemp("models")
    return open_models(write_models(folder))


@pytest.mark.parametrize("name", [name for name, each in PROGRAMS.items() if not each.p2p])
def test_sizes_of_realistic_programs(name: str, models: Any) -> None:
    """Sizes are exact for programs as people write them, or listed."""
    if not PROGRAMS[name].available:
        pytest.skip(f"needs {PROGRAMS[name].needs}")
    check(lambda: PROGRAMS[name].build(*models), LISTED.get(name), trials=trials_of(name))


def test_only_programs_are_listed() -> None:
    """Nothing is listed that no program bears out."""
    assert LISTED.keys() <= {*ARRAYS, *XARRAYS, *OBJECTS, *PROGRAMS}
