"""``routed()``: route plain ``.compute()`` in existing code, leaving no state behind.

dask's ``scheduler`` setting holds for the whole process. So one dispatcher is installed
while any thread is inside, and a context variable shows whether *this* thread (or
asynchronous task) is. Other threads use the scheduler that they would have used.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, Final, Unpack

import dask.base
import dask.config
from dask.base import get_scheduler

from xr_locality.config import CallPolicy
from xr_locality.graph.expression import default_get, take_apart
from xr_locality.session import Session, current_session

__all__ = ["routed"]


@dataclass(frozen=True, slots=True)
class _RoutingScope:
    """Session and policy of an entered ``routed()``."""

    session: Session
    policy: CallPolicy


_route: ContextVar[_RoutingScope | None] = ContextVar("xr_locality_route", default=None)


@contextmanager
def routed(**policy: Unpack[CallPolicy]) -> Iterator[Session]:
    """Route plain ``.compute()``, ``.load()``, ``.plot()`` and ``dask.compute`` inside.

    Only code of this thread, or of this asynchronous task, is routed. A
    ``Client()`` made inside takes over from there on, as it does in dask.

    Parameters
    ----------
    **policy : CallPolicy
        Settings for the routed runs, see :class:`Session`.

    Yields
    ------
    Session
        Its ``reports`` show what was moved.

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
            policy = CallPolicy()
        else:
            session = current_session()
        if outer is not None and outer.session is session:
            # A limit set outside holds inside as well.
            policy = {**outer.policy, **policy}
        token = _route.set(_RoutingScope(session, policy))
        stack.callback(_route.reset, token)
        _DISPATCHER.enter()
        stack.callback(_DISPATCHER.leave)
        yield session


@dataclass(slots=True)
class _Dispatcher:
    """Dispatcher: dask's scheduler while any thread is inside ``routed()``."""

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
        """Restore the saved setting, unless another scheduler was set since."""
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
        """Persist collections; dask finds this method on a scheduler's owner."""
        route = _route.get()
        if route is None:
            otherwise = self._otherwise(lambda: collections[0].__dask_scheduler__)
            return dask.base.persist(*collections, scheduler=otherwise, **kwargs)
        return route.session.persist(*collections, **route.policy)

    def _otherwise(self, default: Callable[[], Any]) -> Any:
        """Return the scheduler that would be used without the dispatcher."""
        with self.lock:
            if self.inside == 0:
                # An overlapping dask.config.set has restored the dispatcher too late.
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
        # Processes that are started meanwhile receive the configuration: in them no thread
        # is inside, and the scheduler is the saved one.
        return partial(SimpleNamespace, get=self.saved.get("scheduler")), ()


def _nest(keys: Any, values: Mapping[Any, Any]) -> Any:
    """Arrange values as dask's schedulers do: a tuple for each list of keys."""
    if isinstance(keys, list):
        return tuple(_nest(key, values) for key in keys)
    return values[keys]


_DISPATCHER: Final = _Dispatcher()
