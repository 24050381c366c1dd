"""The user's rules: regions by URL prefix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from xr_locality.errors import ConfigurationError, LocalityError, raise_together
from xr_locality.regions.detection import Detection
from xr_locality.regions.detectors.hostnames import as_bucket
from xr_locality.regions.region import Region
from xr_locality.regions.store import Store, without_secrets

__all__ = ["Rule", "Rules", "RulesDetector"]

# Protocol, account, bucket and path.
_Place: TypeAlias = tuple[str, str | None, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Everything below one URL is in one region."""

    #: As the user wrote it, but for secrets.
    url: str
    store: Store
    region: Region


class Rules:
    """The user's rules, parsed once.

    A rule for ``s3://bucket/a`` holds for ``s3://bucket/a/b`` and not for
    ``s3://bucket/ab``, whatever alias of ``s3`` either is written with. Of
    several that hold, the longest counts. A rule with the URL of a service
    (``https://minio.example.org/bucket``, ``https://account.blob.core.windows.net``)
    goes before one with the bucket alone, which holds on every service.

    Parameters
    ----------
    rules : iterable of Rule
        In any order.
    """

    def __init__(self, rules: tuple[Rule, ...] = ()) -> None:
        self.rules = rules
        self._by_place = {_place(rule): rule for rule in rules}

    @classmethod
    def parse(cls, rules: Mapping[str, Any]) -> Self:
        """Parse ``locality.rules`` of the configuration.

        Parameters
        ----------
        rules : Mapping of str to str
            URL prefix to region.

        Returns
        -------
        Rules

        Raises
        ------
        ConfigurationError
            If a prefix is no URL or a region is malformed: each is named.
        """
        parsed: dict[_Place, Rule] = {}
        problems: list[Exception] = []
        for url, region in rules.items():
            try:
                rule = _rule(url, region)
                other = parsed.setdefault(_place(rule), rule)
                if other.region != rule.region:
                    raise ConfigurationError(f"the rule {other.url!r} says {str(other.region)!r}.")
            except LocalityError as err:
                problem = ConfigurationError(
                    f"The rule {_shown(url)!r}: {region!r} in locality.rules cannot be used: {err}",
                    url=_shown(url),
                )
                problem.__cause__ = err
                problems.append(problem)
        raise_together(problems, message="The rules cannot be used:")
        return cls(tuple(parsed.values()))

    def find(self, store: Store) -> Rule | None:
        """Find the rule for `store`; None if there is none."""
        service = store.at_service
        places = [] if service is None else _places(service)
        for place in [*places, *_places(store)]:
            if (rule := self._by_place.get(place)) is not None:
                return rule
        return None

    def __len__(self) -> int:
        return len(self.rules)

    def __repr__(self) -> str:
        return f"Rules({len(self)})"


class RulesDetector:
    """Knows a region from the user's rules."""

    name = "rules"

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def detect(self, store: Store) -> Detection | None:
        """Return what the user's rules say of `store`."""
        # A rule for a bucket holds for its web address too.
        rule = self._rules.find(store) or self._rules.find(as_bucket(store))
        if rule is None:
            return None
        return Detection(region=rule.region, evidence=f"rule {rule.url!r}", how=self.name)


def _rule(url: str, region: Any) -> Rule:
    store = Store.from_url(url)
    if not (store.bucket or store.account or store.protocol in ("file", "memory")):
        raise ConfigurationError("it names no bucket or host.")
    return Rule(url=_shown(url), store=store, region=Region.parse(region))


def _shown(url: Any) -> Any:
    return without_secrets(url) if isinstance(url, str) else url


def _place(rule: Rule) -> _Place:
    store = rule.store
    return store.protocol, store.account, store.bucket, store.path


def _places(store: Store) -> list[_Place]:
    """List the places that hold a store, the nearest first."""
    protocol, account, bucket = store.protocol, store.account, store.bucket
    places: list[_Place] = [(protocol, account, bucket, path) for path in store.prefixes()]
    if account is not None:
        places.append((protocol, account, "", ""))
        places += [(protocol, None, bucket, path) for path in store.prefixes()]
    return places
