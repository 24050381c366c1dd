"""The private names of distributed that this process uses: present, or done without."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from distributed import Client, Worker

from xr_locality.compat.distributed_internals import set_worker_client


def test_the_names_are_there() -> None:
    """A worker sets ``_client``, and a client sets ``_handle_report_task``."""
    assert "_client" in Worker.__init__.__code__.co_names
    assert "_handle_report_task" in Client.__init__.__code__.co_names


def test_a_worker_without_the_name_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A renamed attribute is logged, and none is added."""
    worker: Any = SimpleNamespace()
    set_worker_client(worker, SimpleNamespace())  # type: ignore[arg-type]
    assert vars(worker) == {}
    assert "no Worker._client" in caplog.text
