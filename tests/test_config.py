"""Settings: defaults, dask's configuration, keywords, and what is refused."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import dask.config
import jsonschema
import pytest
import yaml

from xr_locality import config, errors
from xr_locality.config import Budget, LinkSetting, Settings, parse_budget, read
from xr_locality.config.values import CHECKS
from xr_locality.regions.region import LOCAL, Region


@pytest.fixture(autouse=True)
def only_defaults() -> Iterator[None]:
    """Hide what this machine configures, and undo what a test does."""
    with dask.config.set({"locality": {}}):
        yield


def packaged(name: str) -> Any:
    """Read a YAML file of the package."""
    return yaml.safe_load(resources.files("xr_locality").joinpath(name).read_text("utf-8"))


def dashed(name: str) -> str:
    """Spell a setting's name as configuration files do."""
    return name.replace("_", "-")


class TestPolicy:
    def test_has_every_setting(self) -> None:
        """The types of keywords, the settings, their checks and the schema have the same names."""
        names = {field.name for field in dataclasses.fields(Settings)}
        assert set(config.CallPolicy.__annotations__) == names
        assert set(config.Policy.__annotations__) == names - {"endpoints"}
        assert set(CHECKS) == names
        schema = packaged("locality-schema.yaml")["properties"]["locality"]["properties"]
        assert {name.replace("-", "_") for name in schema} == names


class TestDefaults:
    def test_values(self) -> None:
        """Without any configuration the documented defaults hold."""
        settings = read()
        assert settings == Settings(
            client_region="local",
            endpoints={},
            rules={},
            allowed_regions=None,
            probe="auto",
            probe_timeout=3.0,
            cache_directory=None,
            objective="usd",
            max_egress=None,
            missing_endpoint="error",
            unknown_region="error",
            remote_read="allowed",
            trial_functions="known",
            transfer="auto",
            retries=3,
            progress=None,
            start_timeout=300.0,
            version_check="error",
            source_check="error",
            audit_log=None,
            audit_required=False,
            lease=300.0,
            state_directory=None,
            prices={},
            links={},
            staging={},
        )
        assert settings.budget is None

    def test_registered_with_dask_on_import(self) -> None:
        """Importing the package is enough for dask.config to know the defaults."""
        code = (
            "import xr_locality.config, dask.config; "
            "print(dask.config.get('locality.missing-endpoint'))"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == "error", done.stderr

    def test_agree_with_schema(self) -> None:
        """The defaults are valid by the JSON schema."""
        schema = packaged("locality-schema.yaml")
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(packaged("locality.yaml"), schema)

    def test_schema_defaults_and_settings_list_the_same_keys(self) -> None:
        """A setting cannot be added without its default and its description."""
        described = packaged("locality-schema.yaml")["properties"]["locality"]["properties"]
        names = [dashed(field.name) for field in dataclasses.fields(Settings)]
        assert sorted(described) == sorted(names)
        assert sorted(packaged("locality.yaml")["locality"]) == sorted(names)
        assert all(entry["description"] for entry in described.values())

    @pytest.mark.parametrize(
        ("name", "alias"),
        [
            ("objective", config.Objective),
            ("missing_endpoint", config.MissingEndpoint),
            ("unknown_region", config.UnknownRegion),
            ("probe", config.Probing),
            ("remote_read", config.RemoteRead),
            ("transfer", config.Transfer),
            ("version_check", config.Severity),
            ("source_check", config.Severity),
        ],
    )
    def test_schema_allows_the_values_that_read_allows(self, name: str, alias: Any) -> None:
        """A choice has the same values in the schema, in the types and in the check."""
        described = packaged("locality-schema.yaml")["properties"]["locality"]["properties"]
        assert described[dashed(name)]["enum"] == list(alias.__args__)
        assert [getattr(read(**{name: value}), name) for value in alias.__args__] == list(
            alias.__args__
        )


class TestWhereSettingsComeFrom:
    def test_dask_config(self) -> None:
        """A value set through dask.config is read."""
        with dask.config.set({"locality.objective": "bytes"}):
            assert read().objective == "bytes"

    @pytest.mark.parametrize("key", ["max-egress", "max_egress"])
    def test_dash_and_underscore_are_the_same(self, key: str) -> None:
        """Both spellings of a key are understood, even in a mapping set as a whole."""
        with dask.config.set({"locality": {key: "10 GB"}}):
            assert read().budget == Budget(nbytes=10**10)

    def test_environment_variable(self) -> None:
        """DASK_LOCALITY__MAX_EGRESS and its like reach the settings."""
        env = {
            "DASK_LOCALITY__MAX_EGRESS": "5 USD",
            "DASK_LOCALITY__PROGRESS": "false",
            "DASK_LOCALITY__RULES": "{'https://data.example.org/': 'hpc:here'}",
        }
        with dask.config.set(dask.config.collect(paths=[], env=env)):
            settings = read()
        assert settings.budget == Budget(usd=5.0)
        assert settings.progress is False
        assert settings.rules == {"https://data.example.org/": "hpc:here"}

    def test_folders_and_variables_together(self, tmp_path: Path) -> None:
        """A site's folder, a user's, and variables: each wins over the one before it."""
        site, user = tmp_path / "etc", tmp_path / "home"
        site.mkdir()
        user.mkdir()
        (site / "site.yaml").write_text(
            "locality:\n"
            "  max-egress: 5 USD\n"
            "  objective: bytes\n"
            "  endpoints:\n"
            "    aws:us-west-2: {gateway: default, maximum: 40}\n"
            "  rules:\n"
            "    https://data.our-site.example.org/: aws:us-west-2\n"
        )
        (user / "mine.yaml").write_text(
            "locality:\n"
            "  max_egress: 1 USD\n"
            "  endpoints:\n"
            "    gcp:us-central1: tls://10.0.0.7:8786\n"
            "  rules:\n"
            "    s3://my-own.bucket/some_path: gcp:us-central1\n"
        )
        env = {
            "DASK_LOCALITY__OBJECTIVE": "seconds",
            "DASK_LOCALITY__ENDPOINTS": "{'hpc:our-machine': 'tcp://login-1.example.org:8786'}",
            "DASK_LOCALITY__RULES": "{'https://other.example.org/a-b/': 'hpc:our-machine'}",
        }
        with dask.config.set(dask.config.collect(paths=[str(site), str(user)], env=env)):
            settings = read()
        assert settings.max_egress == "1 USD"
        assert settings.objective == "seconds"
        assert settings.endpoints == {
            "aws:us-west-2": {"gateway": "default", "maximum": 40},
            "gcp:us-central1": "tls://10.0.0.7:8786",
            "hpc:our-machine": "tcp://login-1.example.org:8786",
        }
        assert settings.rules == {
            "https://data.our-site.example.org/": "aws:us-west-2",
            "s3://my-own.bucket/some_path": "gcp:us-central1",
            "https://other.example.org/a-b/": "hpc:our-machine",
        }

    def test_process_with_a_sites_folder(self, tmp_path: Path) -> None:
        """What a site puts into its folder and into the environment serves as it is."""
        (tmp_path / "locality.yaml").write_text(
            "locality:\n"
            "  allowed-regions: [aws:us-west-2]\n"
            "  endpoints:\n"
            "    aws:us-west-2: {gateway: default, maximum: 40, options: {team: $TEAM}}\n"
        )
        code = (
            "import xr_locality; from xr_locality.regions import Region; "
            "session = xr_locality.Session(); region = session.regions[0]; "
            "print(region, session.describe(region), session.settings().max_egress, "
            "dict(session._endpoints[region].options))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={
                **os.environ,
                "DASK_CONFIG": str(tmp_path),
                "DASK_GATEWAY__ADDRESS": "https://hub.example.org/services/dask-gateway",
                "DASK_LOCALITY__MAX_EGRESS": "5 USD",
                "TEAM": "ocean",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.strip() == (
            "aws:us-west-2 gateway 'https://hub.example.org/services/dask-gateway' 5 USD "
            "{'team': 'ocean'}"
        ), done.stderr

    def test_keyword_wins(self) -> None:
        """A keyword argument wins over the configuration, even over a wrong value there."""
        with dask.config.set({"locality.transfer": "pigeon"}):
            assert read(transfer="relay").transfer == "relay"

    def test_none_means_from_config(self) -> None:
        """A keyword of None leaves the configured value."""
        with dask.config.set({"locality.max-egress": "1 TB"}):
            assert read(max_egress=None).max_egress == "1 TB"

    def test_empty_section_means_default(self) -> None:
        """A YAML section with nothing under it is as good as none."""
        with dask.config.set({"locality": {"rules": None, "retries": None}}):
            assert read() == read(rules={}, retries=3)

    def test_unlimited_lifts_a_configured_budget(self) -> None:
        """One run may go without the limit that is configured for all."""
        with dask.config.set({"locality.max-egress": "1 GB"}):
            assert read(max_egress="unlimited").budget is None

    def test_keys_with_dots_stay_whole(self) -> None:
        """Host names in rules and addresses in endpoints are not split at their dots."""
        rules = {"https://data.example.org/": "hpc:here", "s3://my.bucket-a_b": "aws:eu-west-1"}
        endpoints = {"gcp:us-central1": "tls://10.0.0.7:8786"}
        with dask.config.set({"locality": {"rules": rules, "endpoints": endpoints}}):
            settings = read()
        assert settings.rules == rules
        assert settings.endpoints == endpoints

    def test_endpoint_values_expand_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A password may stand in the environment instead of a file."""
        monkeypatch.setenv("GATEWAY_PASSWORD", "opensesame")
        endpoint = {"gateway": "https://a", "auth": {"password": "${GATEWAY_PASSWORD}"}}
        with dask.config.set({"locality.endpoints": {"aws:us-west-2": endpoint}}):
            read_endpoint = read().endpoints["aws:us-west-2"]
        assert read_endpoint["auth"] == {"password": "opensesame"}

    def test_regions_may_be_objects(self) -> None:
        """Regions given as objects arrive by their canonical names."""
        oregon = Region.parse("aws:us-west-2")
        scheduler = object()
        settings = read(
            client_region=LOCAL, endpoints={oregon: scheduler}, rules={"s3://a": oregon}
        )
        assert settings.client_region == "local"
        assert settings.endpoints == {"aws:us-west-2": scheduler}
        assert settings.endpoints["aws:us-west-2"] is scheduler
        assert settings.rules == {"s3://a": "aws:us-west-2"}

    def test_later_changes_do_not_reach_settings(self) -> None:
        """Settings keep what was configured when they were read."""
        with dask.config.set({"locality.rules": {"s3://a": "aws:us-west-2"}}):
            settings = read()
            dask.config.get("locality")["rules"]["s3://b"] = "aws:us-east-1"
        assert settings.rules == {"s3://a": "aws:us-west-2"}

    @pytest.mark.parametrize(("given", "seconds"), [("2 minutes", 120.0), (90, 90.0), (0.5, 0.5)])
    @pytest.mark.parametrize("name", ["start_timeout", "probe_timeout"])
    def test_durations(self, name: str, given: object, seconds: float) -> None:
        """A timeout is seconds, or text with a unit."""
        assert getattr(read(**{name: given}), name) == seconds

    @pytest.mark.parametrize(("given", "seconds"), [("never", None), ("90 s", 90.0), (5, 5.0)])
    def test_lease(self, given: object, seconds: float | None) -> None:
        """A lease is a time, or there is none."""
        assert read(lease=given).lease == seconds

    @pytest.mark.parametrize("given", ["/somewhere", Path("/somewhere")])
    def test_directory(self, given: object) -> None:
        """A directory is text or a path."""
        assert read(cache_directory=given).cache_directory == "/somewhere"


class TestRefused:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("objective", "dollars"),
            ("objective", ["usd"]),
            ("missing_endpoint", True),
            ("unknown_region", "nearest"),
            ("remote_read", "sometimes"),
            ("transfer", "DIRECT"),
            ("retries", -1),
            ("retries", 1.5),
            ("retries", True),
            ("progress", "yes"),
            ("max_egress", 10),
            ("max_egress", "10"),
            ("start_timeout", 0),
            ("start_timeout", "soon"),
            ("start_timeout", ""),
            ("start_timeout", float("inf")),
            ("client_region", 7),
            ("probe", "sometimes"),
            ("probe", False),
            ("probe_timeout", 0),
            ("probe_timeout", "never"),
            ("cache_directory", ""),
            ("cache_directory", 7),
            ("rules", ["s3://a"]),
            ("rules", {7: "aws:us-west-2"}),
            ("rules", {"s3://a": None}),
            ("prices", {"aws:* -> local": -0.1}),
            ("prices", {"aws:* -> local": "cheap"}),
            ("prices", {"aws:* -> local": float("nan")}),
            ("prices", 0.02),
            ("links", ["aws:* -> local"]),
            ("links", {"aws:* -> local": "200 Mbit/s"}),
            ("links", {"aws:* -> local": {}}),
            ("links", {"aws:* -> local": {"speed": "200 Mbit/s"}}),
            ("links", {7: {"rtt": "60 ms"}}),
        ],
    )
    @pytest.mark.parametrize("given_by", ["keyword", "config"])
    def test_value(self, name: str, value: object, given_by: str) -> None:
        """A value that makes no sense is refused with its name and its repr."""
        overrides = {name: value} if given_by == "keyword" else {}
        configured = {dashed(name): value} if given_by == "config" else {}
        with (
            dask.config.set({"locality": configured}),
            pytest.raises(errors.ConfigurationError) as caught,
        ):
            read(**overrides)
        where = name if given_by == "keyword" else f"locality.{dashed(name)}"
        assert str(caught.value).startswith(f"{where} is {value!r}: ")
        assert caught.value.key == where

    def test_choices_are_listed(self) -> None:
        """A wrong choice is answered with the right ones and the closest."""
        with pytest.raises(errors.ConfigurationError) as caught:
            read(transfer="Direct")
        assert str(caught.value) == (
            "transfer is 'Direct': it must be one of 'direct', 'relay', 'stage', 'auto' "
            "(did you mean 'direct'?)."
        )

    @pytest.mark.parametrize(
        ("configured", "overrides", "where", "meant"),
        [
            ({"max-egres": "1 GB"}, {}, "locality.max-egres", "locality.max-egress"),
            ({}, {"objectiv": "usd"}, "objectiv", "objective"),
        ],
        ids=["config", "keyword"],
    )
    def test_unknown_setting(
        self, configured: dict[str, Any], overrides: dict[str, Any], where: str, meant: str
    ) -> None:
        """A misspelt setting is refused with the closest name, spelt as it was given."""
        with (
            dask.config.set({"locality": configured}),
            pytest.raises(errors.ConfigurationError) as caught,
        ):
            read(**overrides)
        assert f"Unknown setting {where!r}. Did you mean {meant!r}?" in str(caught.value)

    def test_all_problems_together(self) -> None:
        """Independent mistakes are reported at once."""
        with (
            dask.config.set({"locality": {"retries": -1, "colour": "red"}}),
            pytest.raises(errors.LocalityErrorGroup) as caught,
        ):
            read(objective="dollars")
        said = " ".join(str(problem) for problem in caught.value.exceptions)
        assert len(caught.value.exceptions) == 3
        assert all(word in said for word in ("locality.retries", "locality.colour", "objective"))

    def test_same_setting_in_both_spellings(self) -> None:
        """Two spellings of one setting are a contradiction, not a choice."""
        both = {"max-egress": "1 GB", "max_egress": "2 GB"}
        with (
            dask.config.set({"locality": both}),
            pytest.raises(errors.ConfigurationError, match="are the same setting"),
        ):
            read()

    def test_namespace_is_no_mapping(self) -> None:
        """A namespace that is not a mapping is said to be so."""
        with (
            dask.config.set({"locality": "fast"}),
            pytest.raises(errors.ConfigurationError, match="must be a mapping of settings"),
        ):
            read()

    def test_region_twice(self) -> None:
        """Two endpoints for one region are refused."""
        oregon = Region.parse("aws:us-west-2")
        with pytest.raises(errors.ConfigurationError, match="names a region twice"):
            read(endpoints={oregon: "tcp://a:1", "aws:us-west-2": "tcp://b:1"})

    def test_endpoints_stay_out_of_sight(self) -> None:
        """No repr and no error shows what endpoints hold."""
        endpoint = {"gateway": "https://a", "auth": {"password": "opensesame"}}
        assert "opensesame" not in repr(read(endpoints={"aws:us-west-2": endpoint}))
        with pytest.raises(errors.ConfigurationError) as caught:
            read(endpoints=["https://user:opensesame@a"])
        assert "opensesame" not in str(caught.value)
        assert "must map each region" in str(caught.value)


class TestBudget:
    @pytest.mark.parametrize(
        ("text", "budget"),
        [
            ("10 GB", Budget(nbytes=10**10)),
            ("10GB", Budget(nbytes=10**10)),
            (" 1.5 gib ", Budget(nbytes=1_610_612_736)),
            ("0.5 TB", Budget(nbytes=5 * 10**11)),
            ("288 kB", Budget(nbytes=288_000)),
            ("0 B", Budget(nbytes=0)),
            ("5 USD", Budget(usd=5.0)),
            ("0.25usd", Budget(usd=0.25)),
            ("$5", Budget(usd=5.0)),
            ("$5 USD", Budget(usd=5.0)),
        ],
    )
    def test_understood(self, text: str, budget: Budget) -> None:
        """Bytes in any unit and US dollars are understood."""
        assert parse_budget(text) == budget

    @pytest.mark.parametrize(
        "text",
        ["", "GB", "10", "-1 GB", "10 EUR", "10 Gbit", "1e3 GB", "$5 GB", "ten GB", "nan USD"],
    )
    def test_refused(self, text: str) -> None:
        """Anything else is refused with the value and an example."""
        with pytest.raises(errors.ConfigurationError) as caught:
            parse_budget(text)
        assert repr(text) in str(caught.value)
        assert "'10 GB' or '5 USD'" in str(caught.value)

    def test_either_bytes_or_money(self) -> None:
        """A budget has exactly one unit."""
        with pytest.raises(errors.ConfigurationError):
            Budget()
        with pytest.raises(errors.ConfigurationError):
            Budget(nbytes=1, usd=1.0)


class TestLinks:
    @pytest.mark.parametrize(
        ("text", "bytes_per_second"),
        [
            ("200 Mbit/s", 25e6),
            ("1.5Gbit/s", 187.5e6),
            ("25 MB/s", 25e6),
            ("1 MiB/s", 2**20),
            ("8 bit/s", 1),
        ],
    )
    def test_throughput(self, text: str, bytes_per_second: float) -> None:
        """Throughputs are in bits or bytes a second, with the prefixes of either."""
        (link,) = read(links={"aws:* -> local": {"throughput": text}}).links.values()
        assert link == LinkSetting(bytes_per_second=bytes_per_second)

    @pytest.mark.parametrize("rtt", ["60 ms", 0.06])
    def test_round_trip(self, rtt: object) -> None:
        """Round trips are seconds, or text with a unit."""
        (link,) = read(links={"aws:* -> local": {"rtt": rtt}}).links.values()
        assert link.bytes_per_second is None
        assert link.rtt_seconds == pytest.approx(0.06)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("throughput", "200"),
            ("throughput", "0 Mbit/s"),
            ("throughput", "-1 Mbit/s"),
            ("throughput", "200 Mbit"),
            ("throughput", 200),
            ("throughput", None),
            ("rtt", 0),
            ("rtt", "soon"),
            ("rtt", None),
        ],
    )
    def test_refused(self, key: str, value: object) -> None:
        """A figure that makes no sense is refused with its pair, its name and its repr."""
        with pytest.raises(errors.ConfigurationError) as caught:
            read(links={"aws:* -> local": {key: value}})
        message = str(caught.value)
        assert message.startswith(f"links['aws:* -> local'].{key} is {value!r}: it must be")


class TestStaging:
    """Stores that values are staged in."""

    def test_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A URL, or one with options, whose values may name variables; no repr shows them."""
        monkeypatch.setenv("STORE_TOKEN", "a-secret")
        settings = read(
            staging={
                "aws:us-west-2": "s3://a/b",
                "local": {"url": "memory://c", "storage_options": {"token": "${STORE_TOKEN}"}},
            }
        )
        assert settings.staging == {
            "aws:us-west-2": {"url": "s3://a/b", "storage_options": {}},
            "local": {"url": "memory://c", "storage_options": {"token": "a-secret"}},
        }
        assert "a-secret" not in repr(settings)

    @pytest.mark.parametrize(
        "value",
        [
            pytest.param("s3://secret", id="text"),
            pytest.param({"local": 7}, id="number"),
            pytest.param({"local": {"storage_options": {"key": "secret"}}}, id="no URL"),
            pytest.param({"local": {"url": "s3://a", "key": "secret"}}, id="other options"),
            pytest.param(
                {"local": {"url": "s3://a", "storage_options": "secret"}}, id="no mapping"
            ),
        ],
    )
    def test_refused(self, value: object) -> None:
        """What names no store is refused, and not shown: it may hold a secret."""
        with pytest.raises(errors.ConfigurationError, match="staging is a .*must map") as caught:
            read(staging=value)
        assert "secret" not in str(caught.value)
