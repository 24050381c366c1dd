"""The exception tree: built-in parents, facts, pickling, and errors raised together."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest

from xr_locality import errors

CLASSES = [
    value
    for _, value in sorted(vars(errors).items())
    if inspect.isclass(value)
    and issubclass(value, errors.LocalityError)
    and value is not errors.LocalityErrorGroup
]


@pytest.mark.parametrize(
    ("error", "parent"),
    [
        (errors.ConfigurationError, ValueError),
        (errors.RegionError, ValueError),
        (errors.SourceError, ValueError),
        (errors.PlacementError, ValueError),
        (errors.BudgetError, errors.PlacementError),
        (errors.EndpointError, ConnectionError),
        (errors.ExecutionError, RuntimeError),
        (errors.TransferError, errors.ExecutionError),
        (errors.TransferError, ConnectionError),
        (errors.MissingDependencyError, ImportError),
        (errors.LocalityErrorGroup, ExceptionGroup),
        (errors.LocalityErrorGroup, ValueError),
        (errors.LocalityWarning, UserWarning),
    ],
)
def test_parents(error: type[Exception], parent: type[Exception]) -> None:
    """Each class can be caught by the parent that a caller may already handle."""
    assert issubclass(error, parent)


def test_tree_is_drawn_in_full() -> None:
    """Every public class is in the drawing at the top of the module and in __all__."""
    drawn = inspect.getdoc(errors)
    assert drawn is not None
    for error in CLASSES:
        assert error.__name__ in drawn
        assert error.__name__ in errors.__all__


FACTS: dict[type[errors.LocalityError], dict[str, Any]] = {
    errors.LocalityError: {"region": "aws:us-west-2"},
    errors.ConfigurationError: {"key": "objective", "suggestions": ("usd",)},
    errors.RegionError: {"value": "us-wst-2", "suggestions": ("us-west-2",)},
    errors.SourceError: {"url": "s3://bucket/a.zarr", "region": "aws:us-west-2"},
    errors.PlacementError: {"regions": ("aws:us-west-2", "gcp:us-central1")},
    errors.BudgetError: {"nbytes": 10, "usd": 0.5, "moved": (("a", "b", 10),)},
    errors.EndpointError: {"region": "aws:us-west-2", "reached": False},
    errors.ExecutionError: {"region": "aws:us-west-2"},
    errors.TransferError: {"source": "a", "target": "b", "key": ("x", 0), "met": True},
    errors.MissingDependencyError: {"missing": ("matplotlib",), "extra": "plot"},
}


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
class TestEachClass:
    def test_facts_are_attributes(self, error: type[errors.LocalityError]) -> None:
        """Facts for a handler are attributes; other names are missing as usual."""
        problem: Any = error("No endpoint.", **FACTS[error])
        assert str(problem) == "No endpoint."
        assert {name: getattr(problem, name) for name in FACTS[error]} == FACTS[error]
        assert FACTS[error].items() <= problem.facts.items()
        with pytest.raises(AttributeError, match=f"{error.__name__!r} object has no .*'colour'"):
            _ = problem.colour

    def test_declared_facts_are_there(self, error: type[errors.LocalityError]) -> None:
        """Each declared fact that was not given has its default."""
        problem = error("No endpoint.")
        declared = error.__annotations__ if error is not errors.LocalityError else {}
        assert all(getattr(problem, name) in (None, True, ()) for name in declared)

    def test_only_declared_facts(self, error: type[errors.LocalityError]) -> None:
        """A misspelt fact is refused where the error is made; the base takes any."""
        if error is errors.LocalityError:
            assert error("No endpoint.", colour="red").facts == {"colour": "red"}
        else:
            with pytest.raises(TypeError, match="colour"):
                error("No endpoint.", colour="red")

    def test_pickles(self, error: type[errors.LocalityError]) -> None:
        """Class, message, facts and notes survive the way from another process."""
        problem = error("No endpoint.", **FACTS[error])
        problem.add_note("while planning")
        for copied in (pickle.loads(pickle.dumps(problem)), copy.deepcopy(problem)):
            assert type(copied) is error
            assert str(copied) == "No endpoint."
            assert FACTS[error].items() <= copied.facts.items()
            assert vars(copied) == vars(problem)
            assert copied.__notes__ == ["while planning"]


class TestTogether:
    def test_none(self) -> None:
        """Without a problem nothing is raised."""
        errors.raise_together([], message="Cannot plan:")

    def test_one(self) -> None:
        """A single problem is raised as itself."""
        problem = errors.RegionError("Unknown region.")
        with pytest.raises(errors.RegionError) as caught:
            errors.raise_together([problem], message="Cannot plan:")
        assert caught.value is problem

    def test_several(self) -> None:
        """Several problems are raised as a group whose message lists them all."""
        problems = [errors.RegionError("Unknown region."), errors.EndpointError("Down.")]
        with pytest.raises(errors.LocalityErrorGroup) as caught:
            errors.raise_together(problems, message="Cannot plan:")
        assert caught.value.exceptions == tuple(problems)
        said = str(caught.value)
        assert said.startswith("Cannot plan:")
        assert "\n  - Unknown region." in said
        assert "\n  - Down." in said

    def test_as_a_value_error(self) -> None:
        """Code that expects a ValueError for bad input catches a group too."""
        with pytest.raises(ValueError, match="Cannot plan:"):
            errors.raise_together([ValueError("a"), ValueError("b")], message="Cannot plan:")

    def test_split_by_except_star(self) -> None:
        """`except*` takes out what it handles and leaves a group of the rest."""
        problems = [errors.RegionError("Unknown region."), errors.EndpointError("Down.")]
        handled: list[Exception] = []

        def handle() -> None:
            try:
                errors.raise_together(problems, message="Cannot plan:")
            except* errors.EndpointError as group:
                handled.extend(group.exceptions)

        with pytest.raises(errors.LocalityErrorGroup) as caught:
            handle()
        assert handled == problems[1:]
        assert caught.value.exceptions == (problems[0],)
        assert str(caught.value).startswith("Cannot plan:")

    def test_pickles(self) -> None:
        """A group survives the way from another process, notes and all."""
        problems = [errors.RegionError("Unknown.", value="x"), errors.EndpointError("Down.")]
        group = errors.LocalityErrorGroup("Cannot plan:", problems)
        group.add_note("while planning")
        copied = pickle.loads(pickle.dumps(group))
        assert type(copied) is errors.LocalityErrorGroup
        assert str(copied) == str(group)
        assert copied.exceptions[0].value == "x"
        assert copied.__notes__ == ["while planning"]
