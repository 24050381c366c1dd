"""Tags written into files of catalogs, whose other bytes stay."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
import yaml

from xr_locality.catalog import tag_file
from xr_locality.errors import ConfigurationError

DATA = Path(__file__).parent / "data"
RULES = {"s3://b": "aws:us-west-2", "gs://g": "gcp:us-central1"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Name a file for a catalog."""
    return tmp_path / "c.yaml"


def added(before: str, after: str) -> list[str]:
    """List the lines that were added; nothing else may have changed."""
    changes = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    assert not [line for line in changes if line.startswith("-")]
    return [line[2:] for line in changes if line.startswith("+")]


def test_public_catalog(tmp_path: Path) -> None:
    """Of a real catalog only lines with tags are new, after each entry's last one."""
    before = (DATA / "atmosphere.yaml").read_text()
    file = tmp_path / "atmosphere.yaml"
    file.write_text(before)
    done = tag_file(file)
    assert list(done.added) == ["era5_hourly"]
    assert added(before, file.read_text()) == [
        "    metadata: {locality: {region: gcp:us-central1, requester_pays: true}}"
    ]
    assert done.written
    assert done.problems == {"table": "it names no URL"}
    assert list(done.unknown) == ["run"]
    again = tag_file(file)
    assert (again.tagged, dict(again.added), again.written) == (("era5_hourly",), {}, False)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            "    driver: zarr  # ours\n    args: {urlpath: s3://b/a}  # here\n\n    # and on\n",
            (
                "    driver: zarr  # ours\n    args: {urlpath: s3://b/a}  # here\n"
                "    metadata: {locality: {region: aws:us-west-2}}\n\n    # and on\n"
            ),
        ),
        (
            "    args:\n      urlpath: s3://b/a\n    metadata:\n      # why\n      x: [1, 2]\n",
            (
                "    args:\n      urlpath: s3://b/a\n    metadata:\n      # why\n      x: [1, 2]\n"
                "      locality: {region: aws:us-west-2}\n"
            ),
        ),
        (
            "    args: {urlpath: s3://b/a}\n    metadata: {}\n    driver: zarr\n",
            (
                "    args: {urlpath: s3://b/a}\n    metadata: {locality: {region: aws:us-west-2}}\n"
                "    driver: zarr\n"
            ),
        ),
        (
            "    args: {urlpath: s3://b/a}\n    metadata:\n    driver: zarr\n",
            (
                "    args: {urlpath: s3://b/a}\n    metadata: {locality: {region: aws:us-west-2}}\n"
                "    driver: zarr\n"
            ),
        ),
        (
            "    args: {urlpath: s3://b/a}\n    metadata: {tags: [ocean], }\n",
            (
                "    args: {urlpath: s3://b/a}\n"
                "    metadata: {tags: [ocean], locality: {region: aws:us-west-2}}\n"
            ),
        ),
        (
            "    args: {urlpath: s3://b/a}\n    metadata:\n      locality: {leaves: never}\n",
            (
                "    args: {urlpath: s3://b/a}\n    metadata:\n"
                "      locality: {leaves: never, region: aws:us-west-2}\n"
            ),
        ),
        (
            "    args: {urlpath: s3://b/a}\n    description: |\n      Long\n      text.\n",
            (
                "    args: {urlpath: s3://b/a}\n    description: |\n      Long\n      text.\n"
                "    metadata: {locality: {region: aws:us-west-2}}\n"
            ),
        ),
        (
            "    args:\n      urlpath:\n      - s3://b/a\n      - s3://b/b\n",
            (
                "    args:\n      urlpath:\n      - s3://b/a\n      - s3://b/b\n"
                "    metadata: {locality: {region: aws:us-west-2}}\n"
            ),
        ),
    ],
    ids=["new", "block", "empty", "nothing", "flow", "locality", "text", "list"],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_bytes_stay(entry: str, expected: str, end: str, file: Path) -> None:
    """Comments, order, quotes and line ends stay, however the entry is written."""
    head, tail = "# ours\nsources:\n  'lens':\n", "  other: {driver: csv}  # last"
    file.write_bytes(f"{head}{entry}{tail}".replace("\n", end).encode())
    done = tag_file(file, rules=RULES)
    assert list(done.added) == ["lens"]
    assert file.read_bytes().decode() == f"{head}{expected}{tail}".replace("\n", end)


def test_entry_on_one_line_without_an_end(file: Path) -> None:
    """An entry in braces, in a file without a last line end, is tagged inside them."""
    file.write_text("sources: {a: {driver: zarr, args: {urlpath: 's3://b/a'}}}")
    tag_file(file, rules=RULES)
    assert file.read_text() == (
        "sources: {a: {driver: zarr, args: {urlpath: 's3://b/a'}, "
        "metadata: {locality: {region: aws:us-west-2}}}}"
    )


def test_second_version(file: Path) -> None:
    """In a catalog with ``version: 2`` the data are tagged."""
    before = (
        "version: 2\nmetadata: {}\naliases: {lens: r}\nuser_parameters: {}\ndata:\n  d:\n"
        "    datatype: intake.readers.datatypes:Zarr\n    kwargs: {url: gs://g/a}\n"
        "    metadata: {}\n    user_parameters: {}\nentries:\n  r:\n    reader: x:Y\n"
        "    kwargs: {args: ['{data(d)}']}\n    metadata: {}\n    user_parameters: {}\n"
    )
    file.write_text(before)
    done = tag_file(file, rules=RULES)
    assert list(done.added) == ["lens"]
    document = yaml.safe_load(file.read_text())
    assert document["data"]["d"]["metadata"] == {"locality": {"region": "gcp:us-central1"}}
    assert document["entries"]["r"]["metadata"] == {}


def test_dry_run_and_what_needs_nothing(file: Path) -> None:
    """Nothing is written for a dry run, for what inherits a region, or for files here."""
    before = (
        "metadata: {region: us-west-2}\nsources:\n  a: {args: {urlpath: s3://b/a}}\n"
        "  b: {args: {urlpath: /data/b}}\n"
    )
    file.write_text(before)
    assert tag_file(file, rules=RULES).tagged == ("a", "b")
    file.write_text(before.partition("\n")[2])
    done = tag_file(file, rules=RULES, dry_run=True)
    assert (list(done.added), list(done.unknown), done.written) == (["a"], ["b"], False)
    assert file.read_text() == before.partition("\n")[2]


def test_shared_parts_are_not_tagged_for_others(file: Path) -> None:
    """Where two entries share metadata, a tag of one would be one of the other: refused."""
    before = (
        "sources:\n  a: {args: {urlpath: s3://b/a}, metadata: &m {x: 1}}\n"
        "  b: {args: {urlpath: gs://unknown/b}, metadata: *m}\n"
    )
    file.write_text(before)
    done = tag_file(file, rules=RULES)
    assert list(done.problems) == ["a"]
    assert "shares its text" in done.problems["a"]
    assert file.read_text() == before


@pytest.mark.parametrize(
    ("catalog", "tagged", "refused"),
    [
        (
            (
                "plugins: &p {source: []}\nsources:\n  a:\n    args: &o\n      urlpath: s3://b/a\n"
                "  c:\n    driver: zarr\n    args: *o\n"
            ),
            ["a", "c"],
            [],
        ),
        (
            (
                "base: &base\n  driver: zarr\n  metadata: {x: 1}\nsources:\n"
                "  a:\n    <<: *base\n    args: {urlpath: s3://b/a}\n"
                "  c:\n    <<: *base\n    args: {urlpath: s3://b/c}\n    metadata:\n      y: 1\n"
            ),
            ["c"],
            ["a"],
        ),
        (
            (
                "base: &base\n  driver: zarr\nsources:\n"
                "  a:\n    <<: *base\n    args: {urlpath: s3://b/a}\n"
            ),
            ["a"],
            [],
        ),
        (
            (
                "sources:\n  a: &a\n    args: {urlpath: s3://b/a}\n  c: *a\n"
                "  d:\n    args: {urlpath: s3://b/d}\n"
            ),
            ["d"],
            ["a", "c"],
        ),
    ],
    ids=["arguments", "metadata", "driver", "entries"],
)
def test_anchors(catalog: str, tagged: list[str], refused: list[str], file: Path) -> None:
    """Of entries that share something, the ones are tagged whose tag touches nothing shared."""
    file.write_text(catalog)
    done = tag_file(file, rules=RULES)
    assert (list(done.added), list(done.problems)) == (tagged, refused)
    after = yaml.safe_load(file.read_text())
    for name in tagged:
        entry = after["sources"][name]
        assert entry["metadata"].pop("locality") == {"region": "aws:us-west-2"}
    assert len(added(catalog, file.read_text())) == len(tagged)


def test_parses_do_not_grow_with_entries(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is parsed as often for a hundred entries as for one."""
    parses: list[int] = []

    def count(entries: int) -> int:
        text = "".join(f"  e{n}: {{args: {{urlpath: s3://b/{n}}}}}\n" for n in range(entries))
        file.write_text("sources:\n" + text)
        parses.clear()
        assert len(tag_file(file, rules=RULES).added) == entries
        return len(parses)

    inner = yaml.SafeLoader.get_single_node

    def get_single_node(loader: yaml.SafeLoader) -> yaml.Node | None:
        parses.append(1)
        return inner(loader)

    monkeypatch.setattr(yaml.SafeLoader, "get_single_node", get_single_node)
    assert count(1) == count(100) > 0


@pytest.mark.parametrize("text", ["", "a: [", "- 1", "sources: 5", "\xff\xfe"])
def test_what_is_no_catalog(text: str, file: Path) -> None:
    """What is no catalog is refused, and stays."""
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError):
        tag_file(file)
    assert file.read_bytes() == text.encode("latin-1")


def test_bomb_is_refused(file: Path) -> None:
    """A file whose parts multiply is refused before it fills the memory."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    file.write_text("\n".join([*lines, "sources: {a: {args: {urlpath: s3://b/a}}}"]))
    with pytest.raises(ConfigurationError, match="repeats"):
        tag_file(file, rules=RULES)


def test_links_and_modes_stay(file: Path) -> None:
    """A link to a catalog stays one, and the file keeps who may read it."""
    file.write_text("sources: {a: {args: {urlpath: s3://b/a}}}")
    file.chmod(0o640)
    link = file.with_name("link.yaml")
    link.symlink_to(file)
    tag_file(link, rules=RULES)
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o640
    assert "us-west-2" in file.read_text()
    assert sorted(each.name for each in file.parent.iterdir()) == ["c.yaml", "link.yaml"]
