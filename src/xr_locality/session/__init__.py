"""Session: the endpoints and the policy of some runs, and the default made from config."""

from xr_locality.session.session import Session, current_session

__all__ = ["Session", "current_session"]
