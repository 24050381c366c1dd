"""What went wrong in a run, said so that a user knows where and what to do."""

from __future__ import annotations

from typing import Any

from dask.typing import Key
from distributed import Future

from xr_locality.endpoints.base import Connection
from xr_locality.errors import EndpointError, TransferError
from xr_locality.execution.submission import Submission
from xr_locality.plan.model import Partition
from xr_locality.regions.model import Region

__all__ = ["explain", "unreachable"]


async def explain(
    future: Future[Any], submission: Submission, partition: Partition
) -> BaseException:
    """Say why a Future of a partition did not finish.

    Parameters
    ----------
    future : Future
        The one that failed or was lost.
    submission : Submission
        What its region was sent.
    partition : Partition
        What its region had to do.

    Returns
    -------
    BaseException
        A task's own exception, with a note of where it was raised; a TransferError where a
        value could not be fetched; an EndpointError where the region lost the task.
    """
    region = partition.region
    where = submission.connection.endpoint.describe()
    key = submission.key_of(future)
    if future.status != "error":
        return EndpointError(
            f"Region {str(region)!r}: {where} lost or cancelled task {key!r}. "
            "See whether the cluster still runs; computing again starts a new one.",
            region=str(region),
            endpoint=where,
            key=key,
        )
    error: BaseException = await future.exception()
    fetching = _fetching(future, submission, partition)
    if getattr(error, "xr_locality_link", False) and fetching:
        source, missing = fetching
        moving = TransferError(
            f"Region {str(region)!r} could not fetch {missing!r} from region {str(source)!r}: "
            f"{error}. Its workers must reach the other gateway's proxy; transfer='relay' "
            "goes by way of this machine instead.",
            source=str(source),
            target=str(region),
            key=missing,
            met=not isinstance(error, ConnectionRefusedError),
        )
        moving.__cause__ = error
        return moving
    if getattr(error, "xr_locality_staging", False):
        moving = TransferError(
            f"Region {str(region)!r} could not stage {key!r}: {error}. See whether the store has "
            "room, answers, and lets its workers in; see locality.staging.",
            source=str(fetching[0] if fetching else region),
            target=str(region),
            key=key,
            met=True,
        )
        moving.__cause__ = error
        return moving
    error = error.with_traceback(await future.traceback())
    error.add_note(f"Raised for {key!r} in region {str(region)!r}, on {where}.")
    return error


def unreachable(connection: Connection, client: Region, error: Exception) -> TransferError:
    """Say that a region's values could not be brought to the client."""
    region, where = connection.region, connection.endpoint.describe()
    return TransferError(
        f"Results of region {str(region)!r} could not be brought from {where}: {error}. "
        "See whether the cluster still runs.",
        source=str(region),
        target=str(client),
        met=True,
    )


def _fetching(
    future: Future[Any], submission: Submission, partition: Partition
) -> tuple[Region, Key] | None:
    """Find the fetch that a failed Future failed by: itself, or one it waited for."""
    for boundary in partition.fetches:
        failed = submission.fetches.get(boundary.key)
        if failed is not None and (failed.key == future.key or failed.status == "error"):
            return boundary.source, boundary.key
    return None
