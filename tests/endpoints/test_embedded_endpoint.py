"""The cluster inside this process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import distributed
import psutil
import pytest

from support.endpoint_doubles import eventually
from support.polling import patience
from xr_locality.endpoints import EmbeddedEndpoint
from xr_locality.errors import ConfigurationError
from xr_locality.regions import LOCAL

Run = Callable[[Any], Any]


def listening() -> set[tuple[str, int]]:
    """Say on which addresses and ports this process listens."""
    connections = psutil.Process().net_connections("inet")
    return {
        (one.laddr.ip, one.laddr.port) for one in connections if one.status == psutil.CONN_LISTEN
    }


def test_computes_in_this_process_and_ends(run: Run) -> None:
    """Tasks run in threads of this process, as many as asked for, which end with it."""
    before = set(threading.enumerate())

    async def body() -> None:
        endpoint = EmbeddedEndpoint(threads=3)
        await endpoint.preflight(region=LOCAL)
        async with await endpoint.open(region=LOCAL, deadline_seconds=patience(20)) as connection:
            assert connection.scheduler_address.startswith("inproc://")
            info = await connection.client.scheduler.identity()
            assert [worker["nthreads"] for worker in info["workers"].values()] == [3]
            assert await connection.client.submit(os.getpid) == os.getpid()
            await connection.check()
        workers = [one for one in threading.enumerate() if one.name.startswith("Dask-Default")]
        await eventually(lambda: not any(one.is_alive() for one in workers))

    run(body())
    left = {one for one in set(threading.enumerate()) - before if not one.daemon}
    assert not {one.name for one in left if "Dask-Offload" not in one.name}


def test_by_default_each_cpu_has_a_thread(run: Run) -> None:
    """Without a number, the machine decides."""

    async def body() -> int:
        async with await EmbeddedEndpoint().open(
            region=LOCAL, deadline_seconds=patience(20)
        ) as connection:
            n: int = (await connection.client.scheduler.identity())["total_threads"]
            return n

    assert run(body()) == dask.system.CPU_COUNT


def test_leaves_plain_dask_alone(run: Run) -> None:
    """Trap 2: no default client, and a plain compute does not run on our worker."""

    def where() -> str:
        return threading.current_thread().name

    async def body() -> None:
        async with await EmbeddedEndpoint().open(
            region=LOCAL, deadline_seconds=patience(20)
        ) as connection:
            with pytest.raises(ValueError, match="No clients found"):
                distributed.default_client()
            ours = await connection.client.submit(where)
            plain = await asyncio.to_thread(dask.delayed(where)().compute)
            assert ours.startswith("Dask-Default-Threads")
            assert not plain.startswith("Dask-Default-Threads")

    run(body())


def test_task_that_computes_leaves_plain_dask_alone(run: Run) -> None:
    """A task may use dask, on the same cluster, which does not become the process's default."""

    def nested() -> int:
        total: int = dask.delayed(sum)([1, 2]).compute()
        return total

    async def body() -> None:
        async with await EmbeddedEndpoint().open(
            region=LOCAL, deadline_seconds=patience(20)
        ) as connection:
            assert await connection.client.submit(nested) == 3
            assert dask.config.get("scheduler", None) is None
            with pytest.raises(ValueError, match="No clients found"):
                distributed.default_client()

    run(body())


def test_is_not_on_the_network(run: Run) -> None:
    """Nobody on the network can look at it: what listens does so on the loopback interface."""
    # Servers of other tests may run in this process.
    before = listening()

    async def body() -> None:
        async with await EmbeddedEndpoint().open(region=LOCAL, deadline_seconds=patience(20)):
            assert {address for address, _ in listening() - before} <= {"127.0.0.1"}

    run(body())
    assert listening() <= before


def test_a_full_memory_does_not_stop_it(run: Run) -> None:
    """A process full of the user's own arrays does not pause the worker for ever."""

    async def body() -> None:
        with dask.config.set(
            {
                "distributed.worker.memory.pause": 1e-9,
                "distributed.worker.memory.monitor-interval": "10ms",
            }
        ):
            connection = await EmbeddedEndpoint().open(region=LOCAL, deadline_seconds=patience(20))
        async with connection:
            for n in range(20):
                assert await connection.client.submit(sum, [n, 1]) == n + 1

    run(body())


def test_threads_must_be_positive() -> None:
    """A number of threads that cannot be is refused."""
    with pytest.raises(ConfigurationError, match="threads is 0"):
        EmbeddedEndpoint(threads=0)


def test_works_in_a_script_without_a_main_guard(tmp_path: Path) -> None:
    """A plain script may open it at module level; the interpreter then ends cleanly."""
    script = tmp_path / "analysis.py"
    script.write_text(
        "import asyncio\n"
        "from xr_locality.endpoints import EmbeddedEndpoint\n"
        "from xr_locality.regions import LOCAL\n"
        "async def main():\n"
        f"    opening = EmbeddedEndpoint().open(region=LOCAL, deadline_seconds={patience(20)})\n"
        "    async with await opening as connection:\n"
        "        print(await connection.client.submit(sum, [1, 2]))\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=patience(60),
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")
