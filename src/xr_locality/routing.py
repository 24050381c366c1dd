"""``routed()``: route plain ``.compute()`` in existing code, leaving no state behind.

dask's ``scheduler`` setting is one for the process, so one dispatcher is
installed while anybody is inside, and asks a context variable whether *this*
thread (or asynchronous task) is. Others go where they would have gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, Final

import dask.base
import dask.config
from dask.base import get_scheduler

from xr_locality.graph.expression import default_get, take_apart
from xr_locality.session import Session, current_session

__all__ = ["routed"]


@dataclass(frozen=True, slots=True)
class _Route:
    """What somebody who entered asked for."""

    session: Session
    policy: Mapping[str, Any]


_route: ContextVar[_Route | None] = ContextVar("xr_locality_route", default=None)


@contextmanager
def routed(**policy: Any) -> Iterator[Session]:
    """Route plain ``.compute()``, ``.load()``, ``.plot()`` and ``dask.compute`` inside.

    Only code of this thread, or of this asynchronous task, is routed. A
    ``Client()`` made inside takes over from there on, as it does in dask.

    Parameters
    ----------
    **policy : Any
        Settings for what is routed, see :class:`Session`.

    Yields
    ------
    Session
        Its ``reports`` tell what was moved.

    Examples
    --------
    >>> with routed(objective="bytes"):
    ...     import dask.array as da
    ...     int(da.ones(3, chunks=1).sum().compute())
    3
    """
    with ExitStack() as stack:
        outer = _route.get()
        if policy.get("endpoints") is not None:
            session = stack.enter_context(Session(**policy))
            policy = {}
        else:
            session = current_session()
        if outer is not None and outer.session is session:
            # A limit set outside holds inside as well.
            policy = {**outer.policy, **policy}
        token = _route.set(_Route(session, policy))
        stack.callback(_route.reset, token)
        _DISPATCHER.enter()
        stack.callback(_DISPATCHER.leave)
        yield session


@dataclass(slots=True)
class _Dispatcher:
    """Stands as dask's scheduler while anybody is inside ``routed()``."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    inside: int = 0
    #: The setting that was there before, if one was.
    saved: dict[str, Any] = field(default_factory=dict)

    def enter(self) -> None:
        with self.lock:
            if self.inside == 0:
                self._withdraw()
                configured = dask.config.config
                self.saved = {name: configured[name] for name in configured.keys() & {"scheduler"}}
                configured["scheduler"] = self.get
            self.inside += 1

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self._withdraw()

    def _withdraw(self) -> None:
        """Take back what is our own: somebody else may have set a scheduler since."""
        if dask.config.get("scheduler", None) != self.get:
            return
        del dask.config.config["scheduler"]
        dask.config.config.update(self.saved)

    def get(self, expression: Any, keys: Any, **kwargs: Any) -> Any:
        """Compute an expression's keys, as dask's schedulers do."""
        route = _route.get()
        if route is None:
            otherwise = self._otherwise(lambda: default_get(expression))
            return otherwise(expression, keys, **kwargs)
        bundle, order = take_apart(expression, keys)
        values = dict(zip(order, route.session.compute_bundle(bundle, **route.policy), strict=True))
        return _nest(keys, values)

    def persist(self, collections: Sequence[Any], **kwargs: Any) -> Any:
        """Persist collections; dask looks for this on a scheduler's owner."""
        route = _route.get()
        if route is None:
            otherwise = self._otherwise(lambda: collections[0].__dask_scheduler__)
            return dask.base.persist(*collections, scheduler=otherwise, **kwargs)
        return route.session.persist(*collections, **route.policy)

    def _otherwise(self, default: Callable[[], Any]) -> Any:
        """Find the scheduler that would have been used without us."""
        with self.lock:
            if self.inside == 0:
                # A dask.config.set that overlapped has put us back after the last one left.
                self._withdraw()
            saved = self.saved.get("scheduler")
        if saved is not None:
            return get_scheduler(scheduler=saved)
        try:
            from distributed import get_client

            client = get_client()
        except (ImportError, ValueError):
            return default()
        return get_scheduler(scheduler=client)

    def __reduce__(self) -> tuple[Any, ...]:
        # Processes that are started meanwhile are sent the configuration: in them nobody
        # is inside, and the scheduler is what it would have been.
        return partial(SimpleNamespace, get=self.saved.get("scheduler")), ()


def _nest(keys: Any, values: Mapping[Any, Any]) -> Any:
    if isinstance(keys, list):
        return [_nest(key, values) for key in keys]
    return values[keys]


_DISPATCHER: Final = _Dispatcher()
