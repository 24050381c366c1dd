"""Clusters of this machine that stand for two regions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

import xr_locality as xl
from support.pair import REGIONS


@contextmanager
def two_clusters(*, processes: bool) -> Iterator[dict[str, Any]]:
    """Start a cluster for each of two regions.

    With processes, workers of either can reach the other's scheduler; within this
    process nobody can, so values are relayed.
    """
    from distributed import LocalCluster

    with ExitStack() as stack:
        yield {
            region: stack.enter_context(
                LocalCluster(
                    n_workers=1,
                    threads_per_worker=2,
                    processes=processes,
                    dashboard_address=":0",
                    silence_logs=50,
                )
            )
            for region in REGIONS
        }


@contextmanager
def kept_open(session: xl.Session) -> Iterator[xl.Session]:
    """Make a session the current one, and leave it open for the next test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "close", lambda: None)
        with session:
            yield session
