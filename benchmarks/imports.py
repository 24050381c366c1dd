"""What does importing the package cost?"""

from __future__ import annotations


def timeraw_import() -> str:
    """Import the package in a fresh interpreter."""
    return "import xr_locality"


def timeraw_import_what_users_have() -> str:
    """Import what a program that uses xarray with dask has imported anyway."""
    return "import dask.array, xarray"
