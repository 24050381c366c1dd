from __future__ import annotations

import gc

from xr_locality.runtime.collector import collector_paused


def test_pauses_until_the_last_block_ends() -> None:
    """Blocks of several threads overlap; the first that ends does not start the collector."""
    assert gc.isenabled()
    first, second = collector_paused(), collector_paused()
    with first:
        assert not gc.isenabled()
        second.__enter__()
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_disabled_collector_stays_disabled() -> None:
    """What the user has switched off is not switched on."""
    gc.disable()
    try:
        with collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
