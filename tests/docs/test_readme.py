"""README: its commands, its program, and the plan that it shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.polling import patience

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def block(language: str) -> str:
    """Take the first block in a language out of README."""
    found = re.search(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def ageless(plan: str) -> str:
    """Take out how old prices are today."""
    return re.sub(r", \d+ \w+ old$", "", plan, flags=re.MULTILINE)


@pytest.mark.gateway
@pytest.mark.slow
def test_program_prints_the_plan_shown() -> None:
    """README's program runs, on real gateways, and explains what README shows."""
    program = "from example_regions import start\n\nstart(years=10)\n" + block("python")
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT / "docs" / "_examples"), "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=patience(100),
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ageless(ran.stdout) == ageless(block("text"))


def test_continuous_integration_runs_the_test_command() -> None:
    """README's second command is the one that continuous integration runs."""
    commands = re.findall(r"^\$ (.+)$", README, re.MULTILINE)
    demo, tests = commands
    assert demo.endswith("xr-locality demo")
    assert (ROOT / ".ci" / "run").read_text("utf-8").rstrip().endswith(tests)


def test_links_lead_to_files() -> None:
    """Every link in README leads to a file of the repository."""
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).is_file()] == []
