"""The demonstration's output, section by section."""

import os
import re
import subprocess
import sys

__all__ = ["run_demo"]

_HEADING = re.compile(r"^(\d+)\. .+\n─+\n", re.MULTILINE)


def run_demo(*arguments: str, sections: int) -> list[str]:
    """Run ``xr-locality demo`` and cut its output where its sections begin.

    Parameters
    ----------
    *arguments : str
        Of the command.
    sections : int
        How many the page describes; with more or fewer, the page is out of date.

    Returns
    -------
    list of str
        What each section printed, the first at position 1.
    """
    # A kernel asks all that it starts for colours.
    plain = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "xr_locality", "demo", *arguments],
        capture_output=True,
        encoding="utf-8",
        env={**plain, "PYTHONUTF8": "1"},
        check=False,
    )
    if ran.returncode:
        raise RuntimeError(f"The demonstration failed:\n{ran.stdout}\n{ran.stderr}")
    parts = _HEADING.split(ran.stdout)[2::2]
    if len(parts) != sections:
        raise RuntimeError(f"The page describes {sections} sections; there are {len(parts)}.")
    return ["", *(part.strip("\n") for part in parts)]
