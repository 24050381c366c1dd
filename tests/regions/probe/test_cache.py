import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

from xr_locality.errors import LocalityWarning
from xr_locality.regions import Region
from xr_locality.regions.probe.cache import BucketRequest, ProbeAnswer, ProbeCache

WEST = Region.parse("aws:us-west-2")
BUCKET = BucketRequest(service="s3", endpoint=None, name="bucket")
FOUND = ProbeAnswer(region=WEST, evidence="'s3' said so", requester_pays=True)
DAY = 86_400.0


class Clock:
    """A clock that a test turns on."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


def files(directory: Path) -> list[Path]:
    """List what is kept, and what was left behind."""
    return sorted(path for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "answer",
    [
        FOUND,
        ProbeAnswer(region=None, evidence="'s3' knows no bucket 'é'"),
        ProbeAnswer(region=None, evidence="nobody", reached=False),
        ProbeAnswer(region=Region.parse("gcp:nam4"), evidence="x", requester_pays=False),
    ],
)
def test_answers_outlive_the_process(answer: ProbeAnswer, tmp_path: Path) -> None:
    """What one process was answered, the next one knows."""
    ProbeCache(tmp_path / "new" / "directory").put(BUCKET, answer)
    assert ProbeCache(tmp_path / "new" / "directory").get(BUCKET) == answer
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize(
    "other",
    [
        BucketRequest(service="gs", endpoint=None, name="bucket"),
        BucketRequest(service="s3", endpoint="https://minio.example.org", name="bucket"),
        BucketRequest(service="s3", endpoint=None, name="bucket2"),
        BucketRequest(service="s3", endpoint=None, name="bucket", signed=True),
    ],
)
def test_questions_are_told_apart(other: BucketRequest, tmp_path: Path) -> None:
    """An answer is for one bucket of one service."""
    answers = ProbeCache(tmp_path)
    answers.put(BUCKET, FOUND)
    assert answers.get(other) is None
    assert ProbeCache(tmp_path).get(other) is None


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (FOUND, 30 * DAY),
        (ProbeAnswer(region=None, evidence="no such bucket"), 3_600),
        (ProbeAnswer(region=None, evidence="nobody answered", reached=False), 300),
    ],
    ids=["found", "unknown", "unreachable"],
)
def test_answers_expire(answer: ProbeAnswer, seconds: float, tmp_path: Path) -> None:
    """Regions are believed for 30 days, other answers an hour, silence five minutes."""
    clock = Clock()
    answers = ProbeCache(tmp_path, now=clock)
    answers.put(BUCKET, answer)
    clock.now += seconds - 1
    assert answers.get(BUCKET) == ProbeCache(tmp_path, now=clock).get(BUCKET) == answer
    clock.now += 2
    assert answers.get(BUCKET) is None
    assert ProbeCache(tmp_path, now=clock).get(BUCKET) is None


def test_answers_of_tomorrow_are_not_believed(tmp_path: Path) -> None:
    """A clock that was wrong keeps no answer for ever."""
    clock = Clock()
    ProbeCache(tmp_path, now=clock).put(BUCKET, FOUND)
    clock.now -= 3 * DAY
    assert ProbeCache(tmp_path, now=clock).get(BUCKET) is None


def test_emulators_are_asked_again(tmp_path: Path) -> None:
    """What a server of this machine said is not kept: the next may stand at the same port."""
    clock = Clock()
    question = BucketRequest(service="s3", endpoint="http://127.0.0.1:9000", name="bucket")
    answers = ProbeCache(tmp_path, now=clock)
    answers.put(question, FOUND)
    assert answers.get(question) == FOUND
    assert files(tmp_path) == []
    clock.now += 10
    assert answers.get(question) is None


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "null",
        "[]",
        "[" * 10_000,
        '{"version": 1}',
        {"region": "local:moon"},
        {"region": ["aws:us-west-2"]},
        {"region": "aws:us-wset-2"},
        {"asked_at": None},
        {"asked_at": float("nan")},
        {"evidence": "two\nlines \x1b[31m"},
        {"evidence": 5},
        {"requester_pays": "yes"},
        {"reached": None},
        {"question": {"service": "s3", "endpoint": None, "name": "other", "signed": False}},
    ],
    ids=str,
)
def test_damaged_files_are_passed_over(damage: object, tmp_path: Path) -> None:
    """A file that is not as it was written counts as none, is said once, and is written anew."""
    ProbeCache(tmp_path).put(BUCKET, FOUND)
    (path,) = files(tmp_path)
    content = json.loads(path.read_text())
    if isinstance(damage, dict):
        path.write_text(json.dumps(content | damage))
    else:
        path.write_text(str(damage))
    with pytest.warns(LocalityWarning, match="safe to delete") as caught:
        assert ProbeCache(tmp_path).get(BUCKET) is None
    assert str(tmp_path) in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ProbeCache(tmp_path).get(BUCKET) is None
        ProbeCache(tmp_path).put(BUCKET, FOUND)
        assert ProbeCache(tmp_path).get(BUCKET) == FOUND


def test_files_of_another_version_are_passed_over(tmp_path: Path) -> None:
    """What a newer version of the package wrote is no damage."""
    ProbeCache(tmp_path).put(BUCKET, FOUND)
    (path,) = files(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 2, "region": 7}))
    assert ProbeCache(tmp_path).get(BUCKET) is None


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_only_the_user_reads_them(tmp_path: Path) -> None:
    """Names of buckets are nobody else's business."""
    directory = tmp_path / "regions"
    ProbeCache(directory).put(BUCKET, FOUND)
    assert directory.stat().st_mode & 0o077 == 0
    (path,) = files(tmp_path)
    assert path.stat().st_mode & 0o077 == 0


def test_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """Where nothing can be written, answers are kept in memory."""
    occupied = tmp_path / "file"
    occupied.write_text("")
    answers = ProbeCache(occupied / "regions")
    answers.put(BUCKET, FOUND)
    assert answers.get(BUCKET) == FOUND
    assert ProbeCache(occupied / "regions").get(BUCKET) is None


def test_no_directory() -> None:
    """Without a directory, answers are kept in memory."""
    answers = ProbeCache(None)
    assert answers.get(BUCKET) is None
    answers.put(BUCKET, FOUND)
    assert answers.get(BUCKET) == FOUND


def test_threads_do_not_spoil_each_others_answers(tmp_path: Path) -> None:
    """While many write one answer, whoever reads finds a whole one."""
    ProbeCache(tmp_path).put(BUCKET, FOUND)
    over = threading.Event()
    seen: list[ProbeAnswer | None] = []

    def read() -> None:
        while not over.is_set():
            seen.append(ProbeCache(tmp_path).get(BUCKET))

    reader = threading.Thread(target=read)
    reader.start()
    writers = [
        threading.Thread(
            target=lambda: [ProbeCache(tmp_path).put(BUCKET, FOUND) for _ in range(25)] and None
        )
        for _ in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    over.set()
    reader.join()
    assert set(seen) == {FOUND}
    assert len(files(tmp_path)) == 1


def test_processes_share_them(tmp_path: Path) -> None:
    """Two processes that write at the same time lose no answer."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from xr_locality.regions.probe.cache import *\n"
        "from xr_locality.regions import Region\n"
        "answers = ProbeCache(Path(sys.argv[1]))\n"
        "answer = ProbeAnswer(region=Region.parse('aws:us-west-2'), evidence='x')\n"
        "for n in range(20):\n"
        "    name = f'{sys.argv[2]}-{n}'\n"
        "    answers.put(BucketRequest(service='s3', endpoint=None, name=name), answer)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in ("a", "b")
    ]
    assert [each.wait(60) for each in running] == [0, 0]
    answers = ProbeCache(tmp_path)
    for name in ("a", "b"):
        for n in range(20):
            question = BucketRequest(service="s3", endpoint=None, name=f"{name}-{n}")
            assert answers.get(question) is not None


def test_directory_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past some number of files the oldest go."""
    monkeypatch.setattr("xr_locality.regions.probe.cache._MOST_FILES", 10)
    answers = ProbeCache(tmp_path)
    for n in range(25):
        answers.put(BucketRequest(service="s3", endpoint=None, name=f"bucket-{n}"), FOUND)
        assert len(files(tmp_path)) <= 11
    last = BucketRequest(service="s3", endpoint=None, name="bucket-24")
    assert ProbeCache(tmp_path).get(last) == FOUND
