"""Errors of a run, with the place where they happened and advice."""

from __future__ import annotations

from typing import Any

from dask.typing import Key
from distributed import Future

from xr_locality.endpoints.connection import Connection
from xr_locality.errors import EndpointError, TransferError
from xr_locality.execution.submission import Submission
from xr_locality.plan.model import Partition
from xr_locality.regions.region import Region

__all__ = ["cut_off", "explain", "unreachable"]


async def explain(
    future: Future[Any], submission: Submission, partition: Partition
) -> BaseException:
    """Explain why a Future of a partition did not finish.

    Parameters
    ----------
    future : Future
        The Future that failed or was lost.
    submission : Submission
        The submission of its region.
    partition : Partition
        The partition of its region.

    Returns
    -------
    BaseException
        A task's own exception, with a note of where it was raised; an EndpointError where
        the region lost the task.
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
    if getattr(error, "xr_locality_staging", False):
        # The value comes from another region, or from this one.
        source = next(
            (
                boundary.source
                for boundary in partition.fetches
                if (fetch := submission.fetches.get(boundary.key)) is not None
                and fetch.status == "error"
            ),
            region,
        )
        moving = TransferError(
            f"Region {str(region)!r} could not stage {key!r}: {error}. See whether the store has "
            "room, answers, and lets its workers in; see locality.staging.",
            source=str(source),
            target=str(region),
            key=key,
            met=True,
        )
        moving.__cause__ = error
        return moving
    error = error.with_traceback(await future.traceback())
    error.add_note(f"Raised for {key!r} in region {str(region)!r}, on {where}.")
    return error


def cut_off(source: Connection, target: Region, key: Key, why: str) -> TransferError:
    """Make the error of workers that could not fetch a value from another region."""
    region, where = source.region, source.endpoint.describe()
    return TransferError(
        f"Region {str(target)!r} could not fetch {key!r} from region {str(region)!r}, {where}: "
        f"{why}. Its workers must reach the other gateway's proxy; transfer='relay' "
        "goes by way of this machine instead.",
        source=str(region),
        target=str(target),
        key=key,
        endpoint=where,
    )


def unreachable(connection: Connection, client: Region, error: Exception) -> TransferError:
    """Make the error of results that could not be brought to the client."""
    region, where = connection.region, connection.endpoint.describe()
    return TransferError(
        f"Results of region {str(region)!r} could not be brought from {where}: {error}. "
        "See whether the cluster still runs.",
        source=str(region),
        target=str(client),
        met=True,
    )
