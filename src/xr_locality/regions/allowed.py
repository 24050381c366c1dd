"""The regions that may be computed in, as whoever runs a site says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from xr_locality.errors import ConfigurationError
from xr_locality.regions.region import Region

__all__ = ["Allowed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """Regions that tasks may run in; the user's own machine is always one."""

    #: None where every region is allowed.
    regions: tuple[Region, ...] | None = None
    #: Providers all of whose regions are.
    providers: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, names: Iterable[str] | None) -> Self:
        """Understand the setting ``allowed_regions``.

        Parameters
        ----------
        names : iterable of str, or None
            Regions, multi-regions, and ``aws:*`` for all of a provider's; None allows all.

        Raises
        ------
        RegionError
            If a name is none of a region.

        Examples
        --------
        >>> allowed = Allowed.parse(["aws:*", "gcp:us"])
        >>> [allowed.permits(Region.parse(name)) for name in ("gcp:us-east1", "gcp:asia-east1")]
        [True, False]
        """
        if names is None:
            return cls()
        listed = list(names)
        providers = {name.removesuffix(":*").strip() for name in listed if name.endswith(":*")}
        regions = [Region.parse(name) for name in listed if not name.endswith(":*")]
        return cls(regions=tuple(regions), providers=frozenset(providers))

    def permits(self, region: Region) -> bool:
        """Say whether tasks may run in a region."""
        if self.regions is None or region.is_local or region.provider in self.providers:
            return True
        return any(each.contains(region) for each in self.regions)

    def problem(self, region: Region) -> ConfigurationError:
        """Make the error that says that tasks may not run in a region."""
        providers = [f"{name}:*" for name in sorted(self.providers)]
        listed = ", ".join([*providers, *map(str, self.regions or ())]) or "none but this machine"
        return ConfigurationError(
            f"Region {str(region)!r} is not allowed here: allowed_regions has {listed}. "
            "Take its endpoint out, or ask whoever configured this.",
            region=str(region),
            key="allowed_regions",
        )
