"""The exception tree: built-in parents, facts, pickling, and errors raised together."""

from __future__ import annotations

import copy
import inspect
import pickle

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


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
class TestEachClass:
    def test_facts_are_attributes(self, error: type[errors.LocalityError]) -> None:
        """What a handler may want to know are attributes; others are missing as usual."""
        problem = error("No endpoint.", region="aws:us-west-2")
        assert str(problem) == "No endpoint."
        assert problem.region == "aws:us-west-2"
        with pytest.raises(AttributeError, match=f"{error.__name__!r} object has no .*'colour'"):
            _ = problem.colour

    def test_pickles(self, error: type[errors.LocalityError]) -> None:
        """Class, message, facts and notes survive the way from another process."""
        problem = error("No endpoint.", region="aws:us-west-2")
        problem.add_note("while planning")
        for copied in (pickle.loads(pickle.dumps(problem)), copy.deepcopy(problem)):
            assert type(copied) is error
            assert str(copied) == "No endpoint."
            assert copied.region == "aws:us-west-2"
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
