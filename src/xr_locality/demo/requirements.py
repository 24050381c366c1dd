"""What must be installed for the demonstration."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from xr_locality.errors import MissingDependencyError

__all__ = ["check_installed"]

#: Module to distribution, of the extra ``demo`` and the extras that it brings.
_NEEDED: Final = {
    "cftime": "cftime",
    "dask_gateway_server": "dask-gateway-server",
    "flask": "flask",
    "flask_cors": "flask-cors",
    "iris_sample_data": "iris-sample-data",
    "moto": "moto",
    "netCDF4": "netCDF4",
    "psutil": "psutil",
    "rich": "rich",
    "s3fs": "s3fs",
    "sqlalchemy": "sqlalchemy",
}


def check_installed() -> None:
    """Raise unless all that the demonstration uses is installed; import none of it.

    Raises
    ------
    MissingDependencyError
        Names all that is missing, and the extra that brings it.
    """
    missing = tuple(name for module, name in _NEEDED.items() if find_spec(module) is None)
    if missing:
        raise MissingDependencyError(
            f"The demo needs {', '.join(missing)}. Run: pip install 'xr-locality[demo]'",
            missing=missing,
            extra="demo",
        )
