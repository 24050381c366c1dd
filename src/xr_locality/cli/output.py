"""What a subcommand prints, and the codes to end with."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

__all__ = ["INTERRUPTED", "PROBLEM", "SUCCESS", "print_found"]

SUCCESS: Final = 0
#: After an error of the library's, or where what was found is not as it should be.
PROBLEM: Final = 1
#: What shells answer after Ctrl-C: 128 and the signal's number.
INTERRUPTED: Final = 130


def print_found(found: Any, *, as_json: bool, text: Callable[[], str]) -> None:
    """Print what can be written as JSON: so, or as the text made of it."""
    print(json.dumps(found, indent=2) if as_json else text())
