"""Endpoint: how the scheduler of a region is reached.

An :class:`Endpoint` is a value, and holds nothing open. Opening it gives a
:class:`~xr_locality.endpoints.connection.Connection`.

Importing this module does not import distributed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from xr_locality.endpoints.scheduler import (
    CONNECT_ERRORS,
    Route,
    identify,
    refuse_to_pickle,
)
from xr_locality.errors import EndpointError
from xr_locality.runtime.timeouts import timeouts

if TYPE_CHECKING:
    from xr_locality.endpoints.connection import Connection
    from xr_locality.regions import Region

__all__ = ["Endpoint", "EndpointFacts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointFacts:
    """Facts of a reachable endpoint.

    Attributes
    ----------
    versions : Mapping of str to str
        By package; empty where the endpoint does not report them.
    clusters : tuple of str, or None
        Names of this user's clusters; None where the endpoint is a single cluster.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    clusters: tuple[str, ...] | None = None


class Endpoint(ABC):
    """How a region's scheduler is reached: an immutable specification.

    Endpoints hold credentials, so they do not pickle, and neither ``repr`` nor
    :meth:`describe` shows a secret.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def adopted(self) -> bool:
        """Whether the user started the cluster, so that it is never closed by the session."""

    @property
    def scheduler_address(self) -> str | None:
        """Address of the scheduler, where it is known before opening."""
        return None

    @abstractmethod
    def describe(self) -> str:
        """Name the endpoint in a few words, without secrets, for messages."""

    @abstractmethod
    async def preflight(self, *, region: Region, deadline_seconds: float | None = None) -> None:
        """Check cheaply that the endpoint can be opened; start no cluster.

        Parameters
        ----------
        region : Region
            The region that it serves, for messages.
        deadline_seconds : float, optional
            Seconds after which the endpoint counts as unreachable. By default
            ``Timeouts.preflight``.

        Raises
        ------
        EndpointError
            If it cannot be reached, or refuses the credentials.
        ConfigurationError
            If it does not offer what its settings ask for.
        """

    async def inspect(
        self, *, region: Region, deadline_seconds: float | None = None
    ) -> EndpointFacts:
        """Request the endpoint's facts; start no cluster.

        Parameters
        ----------
        region, deadline_seconds
            As for ``preflight``, whose errors it raises.

        Returns
        -------
        EndpointFacts
        """
        await self.preflight(region=region, deadline_seconds=deadline_seconds)
        return EndpointFacts()

    @abstractmethod
    async def open(self, *, region: Region, deadline_seconds: float) -> Connection:
        """Open the endpoint, starting a cluster if it is of that kind.

        A failure or a cancellation leaves nothing running.

        Parameters
        ----------
        region : Region
            The region that it serves.
        deadline_seconds : float
            Seconds after which to give up, unless the endpoint's own settings
            say otherwise.

        Returns
        -------
        Connection
            An open connection, to be closed by the caller.

        Raises
        ------
        EndpointError
            If it cannot be opened in time.
        """

    def failure(
        self, region: Region, what: str, *, advice: str, reached: bool = True
    ) -> EndpointError:
        """Make the error for a problem at this endpoint.

        Parameters
        ----------
        region : Region
            The region that the endpoint serves.
        what : str
            The problem, as the end of a sentence about the endpoint.
        advice : str
            How to solve it, as a sentence.
        reached : bool, optional
            False where nothing answered, so that trying again may help.
        """
        return EndpointError(
            f"Region {str(region)!r}: {self.describe()} {what}. {advice}",
            region=str(region),
            endpoint=self.describe(),
            reached=reached,
        )

    async def ask_scheduler(self, route: Route, *, region: Region, deadline_seconds: float) -> None:
        """Raise unless a scheduler answers.

        Parameters
        ----------
        route : Route
            The scheduler to ask.
        region : Region
            The region that the endpoint serves, for messages.
        deadline_seconds : float
            Seconds to wait for the answer.

        Raises
        ------
        EndpointError
            If nothing answers in time, or what answers is not a scheduler.
        """
        try:
            await identify(route, deadline_seconds=deadline_seconds)
        except CONNECT_ERRORS as err:
            raise self.failure(
                region,
                f"has no scheduler that answers at {route.address!r} "
                f"within {deadline_seconds:g} seconds ({type(err).__name__}: {err})",
                advice="See whether it still runs, and whether this machine may reach it.",
                reached=False,
            ) from err

    @staticmethod
    def preflight_seconds(deadline_seconds: float | None) -> float:
        """Return the deadline of a preflight: the one given, else the default."""
        return timeouts().preflight if deadline_seconds is None else deadline_seconds

    def __str__(self) -> str:
        return self.describe()

    def __reduce__(self) -> NoReturn:
        refuse_to_pickle(self)
