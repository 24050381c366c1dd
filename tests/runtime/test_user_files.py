"""Where a user's files lie, and how they are written."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from xr_locality.runtime.user_files import cache_directory, state_directory, write_whole


@pytest.mark.parametrize(
    ("platform", "environ", "cache", "state"),
    [
        ("linux", {"HOME": "/me"}, "/me/.cache/xr-locality", "/me/.local/state/xr-locality"),
        (
            "linux",
            {"HOME": "/me", "XDG_CACHE_HOME": "/c", "XDG_STATE_HOME": "/s"},
            "/c/xr-locality",
            "/s/xr-locality",
        ),
        (
            "linux",
            {"HOME": "/me", "XDG_CACHE_HOME": "c", "XDG_STATE_HOME": "s"},
            "/me/.cache/xr-locality",
            "/me/.local/state/xr-locality",
        ),
        (
            "darwin",
            {"HOME": "/me"},
            "/me/Library/Caches/xr-locality",
            "/me/Library/Application Support/xr-locality",
        ),
        (
            "win32",
            {"LOCALAPPDATA": "/Local"},
            "/Local/xr-locality/Cache",
            "/Local/xr-locality/State",
        ),
        ("win32", {}, None, None),
    ],
    ids=["home", "xdg", "xdg-not-absolute", "mac", "windows", "windows-without-a-home"],
)
def test_directories_are_the_platforms(
    platform: str,
    environ: dict[str, str],
    cache: str | None,
    state: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is kept lies where the platform's programs keep such files."""
    monkeypatch.setattr(sys, "platform", platform)
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    shown = [None if found is None else found.as_posix() for found in _both()]
    assert shown == [cache, state]


def _both() -> tuple[Path | None, Path | None]:
    return cache_directory(), state_directory()


def test_a_user_without_a_home_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the home is not known, nothing is kept."""

    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert _both() == (None, None)


def test_written_is_the_users_alone(tmp_path: Path) -> None:
    """A file is replaced, and nobody else may read it."""
    path = tmp_path / "a.json"
    for text in ("first", "ü"):
        write_whole(path, text)
        assert path.read_text("utf-8") == text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["\ud800", "fine"], ids=["text", "place"])
def test_what_fails_leaves_nothing(text: str, tmp_path: Path) -> None:
    """If a file cannot be written, what was there stays, and no part of the new one."""
    taken = tmp_path / "directory"
    (taken / "inside").mkdir(parents=True)
    with pytest.raises((OSError, UnicodeEncodeError)):
        write_whole(taken, text)
    assert list(tmp_path.iterdir()) == [taken]
