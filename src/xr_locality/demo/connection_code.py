"""The code that connects to a demonstration that was kept, from another process."""

from __future__ import annotations

from pathlib import Path
from pprint import pformat
from textwrap import indent
from typing import Any

from xr_locality.demo.questions import lines_of, warming

__all__ = ["connection_code"]


def connection_code(config: dict[str, Any], catalog: Path) -> str:
    """Write the code, ready to be copied.

    Parameters
    ----------
    config : dict
        The testbed's regions as ``locality`` in dask's configuration. It holds
        passwords, which are good for that testbed alone.
    catalog : Path
        The Intake catalog.

    Returns
    -------
    str
        Lines of Python that ask the first question again.
    """
    assigned = "locality = "
    written = pformat(config, sort_dicts=False, width=80)
    return "\n".join(
        (
            "import dask, intake",
            "import numpy as np",
            "import xarray as xr",
            "import xr_locality as xl",
            "",
            indent(f"{assigned}{written}", " " * len(assigned), lambda line: line[0] == " "),
            "dask.config.set(locality=locality)",
            f"cat = intake.open_catalog({str(catalog)!r})",
            lines_of(warming),
            "warming.locality.explain()",
            "print(warming.locality.compute())",
        )
    )
