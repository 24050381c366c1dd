"""pytest fixtures for tests that need emulated regions.

Name this module in ``pytest_plugins``, or give ``-p xr_locality.testing.fixtures``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from xr_locality.testing.testbed import Testbed

__all__ = ["testbed"]


@pytest.fixture(scope="session")
def testbed() -> Iterator[Testbed]:
    """Two emulated regions, ``aws:us-west-2`` and ``gcp:us-central1``, shared by all tests."""
    with Testbed() as bed:
        yield bed
