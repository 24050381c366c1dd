"""Rules from catalogs of every kind, and from what is wrong with them."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import intake
import pytest
import yaml

import xr_locality as xl
from xr_locality.catalog.learn import entries_of
from xr_locality.errors import ConfigurationError
from xr_locality.regions import REGISTRY, Chain, Region, Rules, Store

DATA = Path(__file__).parent / "data"
GCP, AWS = "gcp:us-central1", "aws:us-west-2"


@pytest.fixture(autouse=True)
def quiet_intake() -> Iterator[None]:
    """Let Intake's own deprecations be."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="intake")
        warnings.filterwarnings("ignore", module="pystac")
        yield


def source(urlpath: Any, **locality: Any) -> dict[str, Any]:
    """Make an entry for a driver of somebody else's."""
    metadata = {"locality": locality} if locality else {}
    return {"driver": "zarr", "args": {"urlpath": urlpath}, "metadata": metadata}


def test_pangeo_catalogs() -> None:
    """Nested catalogs of zarr stores are learned from, whoever opens them, and circles end."""
    learned = xl.catalog.learn(DATA / "master.yaml")
    assert learned.rules == {
        "gs://pangeo-cmems-duacs": GCP,
        "gs://pangeo-ecco-llc4320": GCP,
        "s3://mom6-example": AWS,
        "gs://pangeo-era5": GCP,
        "gs://example-runs": GCP,
    }
    assert learned.learned == (
        "ocean.sea_surface_height",
        "ocean.llc4320",
        "ocean.hycom",
        "atmosphere.era5_hourly",
        "atmosphere.run",
    )
    assert learned.problems == {
        "ocean.again": "it was gone through already",
        "atmosphere.table": "it names no URL",
    }
    tag = REGISTRY.find(Store.from_url("gs://pangeo-ecco-llc4320/SSS/0.0"))
    assert tag is not None
    assert tag.evidence == "catalog 'ocean'"
    era5 = REGISTRY.find(Store.from_url("gs://pangeo-era5/reanalysis/spatial-analysis/t"))
    assert era5 is not None
    assert (era5.requester_pays, era5.evidence) == (
        True,
        "catalog 'master.yaml', entry 'atmosphere'",
    )


def test_opened_by_intake() -> None:
    """A catalog that Intake has opened says the same, and none of its drivers is needed."""
    opened = intake.open_catalog(str(DATA / "ocean.yaml"))
    learned = xl.catalog.learn(opened)
    assert learned.rules["gs://pangeo-cmems-duacs"] == GCP
    assert learned.rules["s3://mom6-example"] == AWS
    assert "again.atmosphere.era5_hourly" in learned.learned


def test_rules_are_rules() -> None:
    """What is learned can be used as rules, with the service of stores that name one."""
    given = source("s3://bucket/a.zarr", region=AWS)
    given["args"]["storage_options"] = {"endpoint_url": "https://minio.example.org"}
    learned = xl.catalog.learn({"sources": {"a": given}})
    assert learned.rules == {"https://minio.example.org/bucket": AWS}
    REGISTRY.clear()
    chain = Chain(Rules.parse(learned.rules))
    there = Store.from_url("s3://bucket/a.zarr/t", given["args"]["storage_options"])
    detection = chain.detect(there)
    assert detection is not None
    assert (str(detection.region), detection.how) == (AWS, "rules")


def test_buckets_that_differ_inside() -> None:
    """Where entries of one bucket disagree, each has a rule of its own."""
    sources = {"a": source("s3://bucket/a", region=AWS), "b": source("s3://bucket/b", region=GCP)}
    assert xl.catalog.learn({"sources": sources}).rules == {
        "s3://bucket/a": AWS,
        "s3://bucket/b": GCP,
    }


def test_replicas_are_learned() -> None:
    """Replicas are known of entries that another driver opens, and have rules too."""
    replicas = [{"urlpath": "gs://copy/a.zarr", "region": GCP}]
    learned = xl.catalog.learn(
        {"sources": {"a": source("s3://bucket/a.zarr", region=AWS, replicas=replicas)}}
    )
    assert learned.rules == {"s3://bucket": AWS, "gs://copy": GCP}
    tag = REGISTRY.find(Store.from_url("s3://bucket/a.zarr/t"))
    assert tag is not None
    assert [(each.original, each.url) for each in tag.replicas] == [
        (Store.from_url("s3://bucket/a.zarr"), "gs://copy/a.zarr")
    ]


def test_second_version(tmp_path: Path) -> None:
    """Of a catalog with ``version: 2`` the metadata of catalog, data and reader are merged."""
    document = {
        "version": 2,
        "metadata": {"locality": {"region": AWS}},
        "user_parameters": {},
        "aliases": {"lens": "reader0"},
        "data": {
            "data0": {
                "datatype": "intake.readers.datatypes:Zarr",
                "kwargs": {"url": "s3://bucket/{model}/a.zarr", "storage_options": None},
                "metadata": {"locality": {"requester_pays": True}},
                "user_parameters": {},
            },
            "alone": {
                "datatype": "intake.readers.datatypes:Zarr",
                "kwargs": {"url": "gs://other/b.zarr"},
                "metadata": {"region": GCP},
                "user_parameters": {},
            },
        },
        "entries": {
            "reader0": {
                "reader": "intake.readers.readers:XArrayDatasetReader",
                "kwargs": {"args": ["{data(data0)}"]},
                "metadata": {},
                "output_instance": "xarray:Dataset",
                "user_parameters": {},
            }
        },
    }
    path = tmp_path / "second.yaml"
    path.write_text(yaml.safe_dump(document))
    for catalog in (path, intake.open_catalog(str(path))):
        REGISTRY.clear()
        learned = xl.catalog.learn(catalog)
        assert learned.rules == {"s3://bucket": AWS, "gs://other": GCP}
        assert learned.learned == ("lens", "alone")
        tag = REGISTRY.find(Store.from_url("s3://bucket/cesm/a.zarr"))
        assert tag is not None
        assert tag.requester_pays is True


def test_datastore_in_two_clouds() -> None:
    """A datastore's buckets are learned from its columns; rows without a region are silent."""
    esm = pytest.importorskip("intake_esm")
    datastore = esm.core.esm_datastore(str(DATA / "cmip6.json"))
    learned = xl.catalog.learn(datastore)
    assert learned.rules == {"gs://example-cmip6": GCP, "s3://example-cmip6-pds": AWS}
    assert learned.silent == ("cmip6-two-clouds[s3://example-cmip6-new]",)


def test_file_of_a_datastore() -> None:
    """The file that describes a datastore is no catalog; the error says what to open it with."""
    with pytest.raises(ConfigurationError, match=r"intake\.open_esm_datastore"):
        xl.catalog.learn(DATA / "cmip6.json")


ITEM = {
    "type": "Feature",
    "stac_version": "1.0.0",
    "id": "item",
    "geometry": None,
    "bbox": None,
    "links": [],
    "properties": {
        "datetime": "2020-01-01T00:00:00Z",
        "storage:platform": "AWS",
        "storage:region": "us-west-2",
        "storage:requester_pays": True,
    },
    "assets": {
        "data": {
            "href": "s3://landsat-like/scene.zarr",
            "alternate": {
                "google": {
                    "href": "gs://landsat-copy/scene.zarr",
                    "storage:platform": "GCP",
                    "storage:region": "us-central1",
                },
                "unknown": {"href": "https://host.org/scene.zarr"},
            },
        }
    },
}
COLLECTION = {
    "type": "Collection",
    "stac_version": "1.0.0",
    "id": "daymet",
    "description": "As Planetary Computer's.",
    "license": "proprietary",
    "extent": {
        "spatial": {"bbox": [[0, 0, 1, 1]]},
        "temporal": {"interval": [["2020-01-01T00:00:00Z", None]]},
    },
    "links": [],
    "msft:region": "westeurope",
    "assets": {
        "zarr-abfs": {
            "href": "abfs://daymet-zarr/daily/hi.zarr",
            "xarray:storage_options": {"account_name": "daymeteuwest"},
        }
    },
}


def test_stac_item() -> None:
    """The storage extension gives an asset's region, and alternates with regions are replicas."""
    learned = xl.catalog.learn(ITEM)
    assert learned.rules == {"s3://landsat-like": AWS, "gs://landsat-copy": GCP}
    tag = REGISTRY.find(Store.from_url("s3://landsat-like/scene.zarr"))
    assert tag is not None
    assert tag.requester_pays is True
    assert [str(each.region) for each in tag.replicas] == [GCP]


def test_stac_schemes_of_an_item() -> None:
    """An asset that refers to one of its item's schemes is where that scheme says."""
    schemes = {
        "here": {"type": "aws-s3", "platform": "https://{bucket}.s3.{region}.amazonaws.com"},
        "west": {"type": "aws-s3", "region": "us-west-2", "requester_pays": True},
    }
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": "item",
        "properties": {"storage:schemes": schemes},
        "assets": {"a": {"href": "s3://b/a", "storage:refs": ["west"]}},
    }
    assert xl.catalog.learn(item).rules == {"s3://b": AWS}


def test_stac_collections_of_microsoft() -> None:
    """A collection's region is that of its assets' storage account."""
    learned = xl.catalog.learn(COLLECTION)
    (url,) = learned.rules
    assert "daymeteuwest" in url
    assert learned.rules == {url: "azure:westeurope"}


def test_accounts_that_nothing_is_said_of() -> None:
    """A collection's region is that of its account: assets in others are silent."""
    assets = {
        # As Planetary Computer writes them: without options, and as web addresses.
        "plain": {"href": "abfs://daymet-zarr/daily/hi.zarr"},
        "web": {"href": "https://daymeteuwest.blob.core.windows.net/daymet-zarr/daily/na.zarr"},
        "thumbnail": {"href": "https://ai4edatasetspublicassets.blob.core.windows.net/a/b.png"},
    }
    given = {**COLLECTION, "msft:storage_account": "daymeteuwest", "assets": assets}
    learned = xl.catalog.learn(given)
    assert learned.rules == {
        "abfss://daymet-zarr@daymeteuwest.dfs.core.windows.net": "azure:westeurope"
    }
    assert learned.silent == ("daymet.thumbnail",)
    for url in (
        "abfss://daymet-zarr@daymeteuwest.dfs.core.windows.net/daily/",
        assets["web"]["href"],
    ):
        assert detected(url + "hi.zarr" * url.endswith("/")) == "azure:westeurope"
    assert detected(assets["thumbnail"]["href"]) is None


def detected(url: str) -> str | None:
    """Say where what was learned places a URL."""
    detection = Chain(Rules.parse({})).detect(Store.from_url(url))
    return None if detection is None else str(detection.region)


def test_web_addresses_of_buckets() -> None:
    """What is listed by its web address is found under its bucket, with its replicas."""
    replicas = [{"urlpath": "s3://copy/a.zarr", "region": AWS}]
    url = "https://storage.googleapis.com/bucket/a.zarr"
    sources = {"a": source(url, region=GCP, replicas=replicas)}
    assert xl.catalog.learn({"sources": sources}).rules == {"gs://bucket": GCP, "s3://copy": AWS}
    there = Store.from_url("gs://bucket/a.zarr")
    tag = REGISTRY.find(there / "t")
    assert tag is not None
    assert [each.original for each in tag.replicas] == [there]
    assert detected(url) == GCP


@pytest.mark.parametrize(
    ("base", "rules"),
    [
        ("s3://bucket/items/i.json", {"s3://bucket": AWS}),
        ("https://host.org/items/i.json", {"https://host.org/items/a.zarr": AWS}),
        (None, {}),
    ],
)
def test_relative_assets(base: str | None, rules: dict[str, str]) -> None:
    """A relative reference leads from where the item is; without that, nowhere."""
    links = [{"rel": "self", "href": base}] if base else []
    asset = {"href": "./x/../a.zarr"}
    learned = xl.catalog.learn({**ITEM, "links": links, "assets": {"a": asset}})
    assert learned.rules == rules
    assert learned.problems == ({} if base else {"item.a": "its URL is relative to an unknown one"})


def test_relative_assets_of_a_file(tmp_path: Path) -> None:
    """An item in a file, which says nothing of itself, leads from its directory."""
    path = tmp_path / "item.json"
    path.write_text(json.dumps({**ITEM, "assets": {"a": {"href": "a.zarr"}}}))
    assert xl.catalog.learn(path).rules == {f"file://{tmp_path}/a.zarr": AWS}


def test_schemes_of_googles_service() -> None:
    """Version 2 of the extension has no type for Google's buckets, but a platform."""
    scheme = {
        "type": "custom-s3",
        "platform": "https://storage.googleapis.com",
        "region": "us-central1",
    }
    item = {**ITEM, "properties": {"storage:schemes": {"g": scheme}}}
    item["assets"] = {"a": {"href": "gs://b/a", "storage:refs": ["g"]}}
    assert xl.catalog.learn(item).rules == {"gs://b": GCP}


def test_malformed_collections_of_items() -> None:
    """What holds itself, or no items, ends; the items that there are are learned."""
    circle: dict[str, Any] = {"type": "FeatureCollection"}
    circle["features"] = [circle, 5, None, {**ITEM, "links": 7}]
    assert xl.catalog.learn(circle).learned == ("item.data",)
    assert xl.catalog.learn({"type": "FeatureCollection", "features": 7}).learned == ()


def test_pystac_objects() -> None:
    """What pystac has opened says what its JSON does, and so do catalogs of it."""
    pystac = pytest.importorskip("pystac")
    catalog = pystac.Catalog("root", "All of it.")
    collection = pystac.Collection.from_dict(COLLECTION)
    catalog.add_child(collection)
    collection.add_item(pystac.Item.from_dict(ITEM))
    learned = xl.catalog.learn(catalog)
    assert learned.learned == ("root.daymet.zarr-abfs", "root.daymet.item.data")
    assert learned.rules["s3://landsat-like"] == AWS
    item = pystac.Item.from_dict(ITEM)
    assert xl.catalog.learn(item).rules == {"s3://landsat-like": AWS, "gs://landsat-copy": GCP}


def test_malformed_tags_are_problems_of_their_entries() -> None:
    """What is wrong with one entry is told of it, and the others are learned."""
    learned = xl.catalog.learn(
        {
            "sources": {
                "moon": source("s3://a/a", region="moon"),
                "typo": source("s3://b/b", region=AWS, leafs="never"),
                "list": {"driver": "zarr", "args": {"urlpath": "s3://c"}, "metadata": [1]},
                "none": None,
                "number": source(5, region=AWS),
                "good": source("s3://d/d", region=AWS),
            }
        }
    )
    assert learned.learned == ("good",)
    assert learned.silent == ("list",)
    assert set(learned.problems) == {"moon", "typo", "none", "number"}
    assert "entry 'moon'" in learned.problems["moon"]
    assert "'leaves'" in learned.problems["typo"]


@pytest.mark.parametrize("catalog", [5, None, {}, {"sources": []}, {"version": 2}, {"type": "x"}])
def test_no_catalog(catalog: object) -> None:
    """What is no catalog is refused."""
    with pytest.raises(ConfigurationError, match="no catalog"):
        xl.catalog.learn(catalog)


@pytest.mark.parametrize(
    "text",
    ["", "just text", "- a\n- b", "a: [", "!!python/object/apply:os.system ['true']", "\x00\x01"],
)
def test_files_that_are_no_catalogs(text: str, tmp_path: Path) -> None:
    """A file that is no catalog is refused, its content is not shown and not run."""
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="c.yaml") as caught:
        xl.catalog.learn(path)
    assert "os.system" not in str(caught.value)


def test_a_thousand_catalogs_in_circles(tmp_path: Path) -> None:
    """A thousand entries, half of them catalogs that lead back, are gone through once."""
    entries: dict[str, Any] = {
        f"e{n}": source(f"s3://bucket/{n}.zarr", region=AWS) for n in range(500)
    }
    nested = {"driver": "yaml_file_cat", "metadata": {}}
    for n in range(500):
        path = "{{ CATALOG_DIR }}/" + ("a.yaml" if n % 2 else "./b.yaml")
        entries[f"c{n}"] = {**nested, "args": {"path": path}}
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"sources": entries}))
    learned = xl.catalog.learn(tmp_path / "a.yaml")
    assert learned.rules == {"s3://bucket": AWS}
    assert len(learned.learned) == 1000
    assert set(learned.problems.values()) == {"it was gone through already"}


def test_deep_nests_end(tmp_path: Path) -> None:
    """Catalogs nested without end are left at some depth."""
    for n in range(40):
        nested = {
            "driver": "yaml_file_cat",
            "args": {"path": f"{{{{ CATALOG_DIR }}}}/{n + 1}.yaml"},
        }
        text = yaml.safe_dump({"sources": {"deeper": nested}})
        (tmp_path / f"{n}.yaml").write_text(text)
    (problem,) = xl.catalog.learn(tmp_path / "0.yaml").problems.values()
    assert "deep" in problem


def test_paths_that_lead_out(tmp_path: Path) -> None:
    """A catalog that names another file of the machine shows nothing of it."""
    (tmp_path / "secret.txt").write_text("root: hush")
    (tmp_path / "inner").mkdir()
    path = tmp_path / "inner" / "c.yaml"
    nested = {"driver": "yaml_file_cat", "args": {"path": "{{ CATALOG_DIR }}/../secret.txt"}}
    path.write_text(yaml.safe_dump({"sources": {"out": nested}}))
    (problem,) = xl.catalog.learn(path).problems.values()
    assert "no catalog" in problem
    assert "hush" not in problem


def test_remote_catalogs_are_left_alone_where_asked(tmp_path: Path) -> None:
    """Catalogs that are no files here are not asked for unless that is wanted."""
    path = tmp_path / "c.yaml"
    nested = {"driver": "yaml_file_cat", "args": {"path": "https://me:hush@localhost:1/c.yaml"}}
    path.write_text(yaml.safe_dump({"sources": {"far": nested}}))
    (entry,) = entries_of(path, local_only=True)
    assert entry.problem is not None
    assert "was not read" in entry.problem
    assert "hush" not in entry.problem


def test_credentials_are_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    """URLs with credentials are learned from, and neither shown nor logged."""
    caplog.set_level(logging.DEBUG)
    sources = {
        "s3": source("s3://key:hush/er@bucket/a.zarr", region=AWS),
        "sig": source("https://host.org/a.zarr?sig=hush", region="moon"),
        "http": source("https://me:hush@host.org/b.zarr", region="osn:ncsa"),
        "bad": source("https://me:hu/sh@host.org/b.zarr", region="osn:ncsa"),
    }
    learned = xl.catalog.learn({"sources": sources})
    assert learned.rules == {"s3://bucket": AWS, "https://host.org/b.zarr": "osn:ncsa"}
    told = io.StringIO()
    print(learned, learned.rules, learned.problems, file=told)
    tag = REGISTRY.find(Store.from_url("https://host.org/b.zarr/t"))
    print(tag, file=told)
    assert "hu" not in told.getvalue()
    assert "hush" not in caplog.text


def test_catalog_is_an_attribute() -> None:
    """``xl.catalog`` is there without being imported, and learns for later plans."""
    xl.catalog.learn({"sources": {"a": source("s3://bucket/a.zarr", region=AWS)}})
    detection = Chain().detect(Store.from_url("s3://bucket/a.zarr/t/0"))
    assert detection is not None
    assert detection.region == Region.parse(AWS)
