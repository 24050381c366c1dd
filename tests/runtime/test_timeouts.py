"""One value of timeouts: its defaults and its replacement."""

from __future__ import annotations

from dataclasses import fields

import pytest

from xr_locality.runtime.timeouts import Timeouts, replaced_timeouts, timeouts


def test_every_timeout_is_positive() -> None:
    """No field is zero or negative."""
    assert all(getattr(Timeouts(), each.name) > 0 for each in fields(Timeouts))


def test_a_replacement_ends_with_its_context() -> None:
    """Inside the context the changed value is used, and after it the former one again."""
    before = timeouts()
    with replaced_timeouts(preflight=1.0):
        assert timeouts().preflight == 1.0
        assert timeouts().connect == before.connect
    assert timeouts() is before


def test_an_unknown_field_is_refused() -> None:
    """A misspelt field raises, and changes nothing."""
    before = timeouts()
    with pytest.raises(TypeError, match="preflght"), replaced_timeouts(preflght=1.0):
        pass
    assert timeouts() is before
