import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from support.polling import patience
from support.strangers import Stranger, drip, hang, reply
from xr_locality.regions import Store
from xr_locality.regions.probe.prober import Probe, ProbeDetector

MakeProbe = Callable[..., Probe]
MakeStranger = Callable[..., Stranger]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the machine's own services out of the tests."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)


def no_dns(host: str) -> str:
    """Stand in for a resolver that knows nobody."""
    raise OSError(host)


def ask(probe: Probe, url: str, **options: Any) -> tuple[str | None, str]:
    """Ask for one URL; return the region's name, or None, and the evidence."""
    store = Store.from_url(url, options)
    probe.ask([store])
    answer = probe.remembered(store)
    assert answer is not None
    return (None if answer.region is None else str(answer.region)), answer.evidence


def s3(make_probe: MakeProbe, service: str, **kwargs: Any) -> Probe:
    """Make a probe for which an emulator is S3 itself."""
    return make_probe(services={"s3": service}, **kwargs)


class TestS3:
    def test_region_of_each_bucket(self, make_probe: MakeProbe, s3_service: str) -> None:
        """S3 says of each bucket where it is, to whoever asks."""
        probe = s3(make_probe, s3_service)
        west, east = Store.from_url("s3://west/a.zarr"), Store.from_url("s3://east")
        probe.ask([west, east])
        found = [ProbeDetector(probe).detect(store) for store in (west, east)]
        assert [str(each.region) for each in found if each] == ["aws:us-west-2", "aws:us-east-1"]
        assert [each.how for each in found if each] == ["probe"] * 2
        assert "x-amz-bucket-region: 'us-west-2'" in str(found[0])

    def test_web_address_of_a_bucket(self, make_probe: MakeProbe, s3_service: str) -> None:
        """A bucket that is read through HTTPS is the same bucket."""
        probe = s3(make_probe, s3_service)
        assert ask(probe, "https://west.s3.amazonaws.com/a.nc")[0] == "aws:us-west-2"

    def test_bucket_that_is_not_there(self, make_probe: MakeProbe, s3_service: str) -> None:
        """A bucket that S3 does not know has no region, and that is said."""
        region, evidence = ask(s3(make_probe, s3_service), "s3://nowhere/a")
        assert region is None
        assert "knows no bucket 'nowhere'" in evidence

    @pytest.mark.parametrize("status", [200, 301, 307, 400, 403])
    def test_status_does_not_matter(
        self, status: int, make_probe: MakeProbe, stranger: MakeStranger
    ) -> None:
        """S3 says the region also where it refuses, or redirects: whoever is named is not asked."""
        other = stranger(reply(200, X_Amz_Bucket_Region="eu-west-1"))
        server = stranger(
            reply(status, X_Amz_Bucket_Region="eu-central-1", Location=f"{other.url}/b")
        )
        assert ask(s3(make_probe, server.url), "s3://bucket/a")[0] == "aws:eu-central-1"
        assert [request[:2] for request in server.requests] == [("HEAD", "/bucket")]
        assert other.requests == []

    @pytest.mark.parametrize(
        "lie",
        [
            "us-wset-2",
            "local",
            "gcp:us-central1",
            "us-central1",
            "westeurope",
            "moon",
            "",
            "../../etc/passwd",
            "<script>",
            "us-west-2 us-east-1",
            "a" * 5_000,
        ],
        ids=lambda lie: lie[:20],
    )
    def test_lies_are_refused(
        self, lie: str, make_probe: MakeProbe, stranger: MakeStranger
    ) -> None:
        """A header that is no region of the provider's is shown, and not believed."""
        server = stranger(reply(200, X_Amz_Bucket_Region=lie))
        region, evidence = ask(s3(make_probe, server.url), "s3://bucket/a")
        assert region is None
        assert "which is no region" in evidence
        assert repr(lie[:80]) in evidence
        assert len(evidence) < 250

    def test_answer_without_a_region(self, make_probe: MakeProbe, stranger: MakeStranger) -> None:
        """A refusal without the header is said with its status."""
        server = stranger(reply(403))
        region, evidence = ask(s3(make_probe, server.url), "s3://bucket/a")
        assert (region, "answered 403" in evidence) == (None, True)


class TestCustomEndpoints:
    def test_endpoint_is_asked(self, make_probe: MakeProbe, s3_service: str) -> None:
        """A bucket of another service is asked for there, and AWS is not."""
        probe = make_probe(services={"s3": "http://127.0.0.1:1"})
        assert ask(probe, "s3://west/a", endpoint_url=s3_service)[0] == "aws:us-west-2"

    def test_service_may_emulate_any_cloud(
        self, make_probe: MakeProbe, stranger: MakeStranger
    ) -> None:
        """A server of one's own may say any cloud's region."""
        server = stranger(reply(200, X_Amz_Bucket_Region="us-central1"))
        assert ask(make_probe(), "s3://b/a", endpoint_url=server.url)[0] == "gcp:us-central1"

    @pytest.mark.parametrize("lie", ["local", "aws:us-west-2", "default", "garage", "a/b"])
    def test_lies_are_refused(
        self, lie: str, make_probe: MakeProbe, stranger: MakeStranger
    ) -> None:
        """No server makes its data local, or names a region that no cloud has."""
        server = stranger(reply(200, X_Amz_Bucket_Region=lie))
        region, evidence = ask(make_probe(), "s3://b/a", endpoint_url=server.url)
        assert (region, "which is no region" in evidence) == (None, True)

    def test_what_servers_say_that_were_told_nothing(
        self,
        make_probe: MakeProbe,
        stranger: MakeStranger,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """``us-east-1`` from a server elsewhere says nothing: it is what most are born with."""
        server = stranger(reply(200, X_Amz_Bucket_Region="us-east-1"))
        assert ask(make_probe(), "s3://b/a", endpoint_url=server.url)[0] == "aws:us-east-1"
        monkeypatch.setattr("xr_locality.regions.probe.s3.is_loopback", lambda server: False)
        region, evidence = ask(make_probe(), "s3://c/a", endpoint_url=server.url)
        assert (region, "were told nothing" in evidence) == (None, True)


class TestSigned:
    OPTIONS: ClassVar = {"key": "AKIDEXAMPLE", "secret": "not to be shown", "token": "nor this"}

    def test_asked_unsigned_first(self, make_probe: MakeProbe, stranger: MakeStranger) -> None:
        """Whoever answers an unsigned request is sent no signature."""
        server = stranger(reply(403, X_Amz_Bucket_Region="us-west-2"))
        found = ask(make_probe(), "s3://b/a", endpoint_url=server.url, **self.OPTIONS)
        assert found[0] == "aws:us-west-2"
        ((_, _, headers),) = server.requests
        assert "authorization" not in headers

    def test_signed_where_that_helps(self, make_probe: MakeProbe, stranger: MakeStranger) -> None:
        """A service that answers only to its users is asked with their signature."""

        def answer(handler: Any, stranger: Stranger) -> None:
            signed = "authorization" in {name.lower() for name in handler.headers}
            reply(200, **({"X_Amz_Bucket_Region": "us-west-2"} if signed else {}))(
                handler, stranger
            )

        server = stranger(answer)
        found = ask(make_probe(), "s3://b/a", endpoint_url=server.url, **self.OPTIONS)
        assert found[0] == "aws:us-west-2"
        headers = server.requests[-1][2]
        assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        assert len(server.requests) == 2
        assert "not to be shown" not in str(server.requests)

    def test_anonymous_is_never_signed(self, make_probe: MakeProbe, stranger: MakeStranger) -> None:
        """``anon`` holds for probes too."""
        server = stranger(reply(403))
        ask(make_probe(), "s3://b/a", endpoint_url=server.url, anon=True, **self.OPTIONS)
        assert all("authorization" not in headers for _, _, headers in server.requests)

    def test_credentials_of_one_host_are_not_sent_to_another(
        self, make_probe: MakeProbe, stranger: MakeStranger
    ) -> None:
        """Keys that were given for AWS go to no other host, though it stands in its place."""
        server = stranger(reply(403))
        ask(s3(make_probe, server.url), "s3://b/a", **self.OPTIONS)
        assert len(server.requests) == 1
        assert "authorization" not in server.requests[0][2]

    def test_credentials_do_not_go_where_the_environment_points(
        self, make_probe: MakeProbe, stranger: MakeStranger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Keys without an endpoint are not sent to one that a variable names."""
        server = stranger(reply(403))
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        ask(make_probe(), "s3://b/a", **self.OPTIONS)
        assert len(server.requests) == 1
        assert "authorization" not in server.requests[0][2]

    def test_credentials_of_the_environment_are_not_used(
        self, make_probe: MakeProbe, stranger: MakeStranger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody knows whom the environment's keys were made for."""
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not to be shown")
        server = stranger(reply(403))
        ask(make_probe(), "s3://b/a", endpoint_url=server.url)
        assert all("authorization" not in headers for _, _, headers in server.requests)

    def test_plain_http_to_another_machine_is_not_signed(
        self, make_probe: MakeProbe, stranger: MakeStranger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A token is not sent in clear over a network."""
        monkeypatch.setattr("xr_locality.regions.probe.replies.is_loopback", lambda server: False)
        server = stranger(reply(403))
        ask(make_probe(), "s3://b/a", endpoint_url=server.url, **self.OPTIONS)
        assert all("authorization" not in headers for _, _, headers in server.requests)

    def test_nothing_secret_is_kept_or_logged(
        self,
        make_probe: MakeProbe,
        stranger: MakeStranger,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Neither answers, files nor logs hold credentials, or the path of an object."""
        caplog.set_level(logging.DEBUG, "xr_locality")
        server = stranger(reply(403, X_Amz_Bucket_Region="us-wset-2"))
        probe = s3(make_probe, server.url)
        url = "s3://me:not to be shown@b/hidden/path?token=nor this"
        found = ask(probe, url, **self.OPTIONS)
        kept = "".join(path.read_text() for path in (tmp_path / "answers").iterdir())
        for secret in ("not to be shown", "nor this", "AKIDEXAMPLE", "hidden"):
            assert secret not in f"{kept} {found} {caplog.text}"
        assert '"name": "b"' in kept


class TestNames:
    @pytest.mark.parametrize(
        "url",
        [
            "s3://../a",
            "s3://..",
            "s3://./a",
            "s3://b%2e%2e/a",
            "s3://b;x/a",
            "s3://b\r\nx-evil: 1/a",
            "s3://bücket/a",
            "s3://-b/a",
            "s3://b..c/a",
            f"s3://{'b' * 300}/a",
            "s3://arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap/a",
            "gs://../a",
            "gs://B/a",
            "az://c@../a",
            "az://c@UPPER.dfs.core.windows.net/a",
        ],
    )
    def test_path_tricks_are_not_asked(
        self, url: str, make_probe: MakeProbe, stranger: MakeStranger
    ) -> None:
        """A name that no bucket can have is asked of nobody, and that is said."""
        server = stranger(reply(200, X_Amz_Bucket_Region="us-west-2"))
        services = dict.fromkeys(("s3", "gs", "az"), server.url)
        probe = make_probe(services=services, canonical_name=no_dns)
        region, evidence = ask(probe, url)
        assert (region, "is no name of" in evidence) == (None, True)
        assert server.requests == []

    @pytest.mark.parametrize(
        "url", ["/data/a", "memory://a", "https://example.org/a", "sftp://h/a", "unknown://x/y"]
    )
    def test_what_no_cloud_knows_is_not_asked(self, url: str, make_probe: MakeProbe) -> None:
        """Files, and servers that are no cloud's, have nobody to ask."""
        probe, store = make_probe(), Store.from_url(url)
        probe.ask([store])
        assert probe.remembered(store) is None
        assert ProbeDetector(probe).detect(store) is None


class TestGoogle:
    @staticmethod
    def make_bucket(service: str, name: str, location: str) -> None:
        """Make a bucket in a location."""
        import json
        import urllib.request

        for method, path, body in (
            ("POST", "?project=p", {"name": name}),
            ("PATCH", f"/{name}", {"location": location}),
        ):
            request = urllib.request.Request(
                f"{service}/storage/v1/b{path}",
                method=method,
                data=json.dumps(body).encode(),
                headers={"content-type": "application/json"},
            )
            urllib.request.urlopen(request).close()

    @pytest.mark.parametrize(
        ("location", "region"),
        [
            ("US-CENTRAL1", "gcp:us-central1"),
            ("US", "gcp:us"),
            ("EU", "gcp:eu"),
            ("ASIA", "gcp:asia"),
            ("NAM4", "gcp:nam4"),
            ("EUROPE-NORTH9", "gcp:europe-north9"),
        ],
    )
    def test_location_of_a_bucket(
        self, location: str, region: str, gcs_service: str, make_probe: MakeProbe
    ) -> None:
        """Regions, dual-regions and multi-regions are answered by the bucket's resource."""
        bucket = f"bucket-{location.lower()}"
        self.make_bucket(gcs_service, bucket, location)
        assert ask(make_probe(), f"gs://{bucket}/a", endpoint_url=gcs_service)[0] == region
        own = make_probe(services={"gs": gcs_service})
        assert ask(own, f"gs://{bucket}/a")[0] == region
        assert ask(own, f"https://storage.googleapis.com/{bucket}/a")[0] == region

    def test_bucket_that_is_not_there(self, gcs_service: str, make_probe: MakeProbe) -> None:
        """A bucket that is not there has no region, and that is said."""
        region, evidence = ask(make_probe(), "gs://nowhere/a", endpoint_url=gcs_service)
        assert (region, "knows no bucket 'nowhere'" in evidence) == (None, True)

    def test_layout_where_the_resource_is_refused(
        self, make_probe: MakeProbe, stranger: MakeStranger
    ) -> None:
        """A public bucket's layout may be seen by whoever lists it, its resource not."""

        def answer(handler: Any, stranger: Stranger) -> None:
            layout = handler.path.endswith("/storageLayout")
            body = b'{"location": "EU", "locationType": "multi-region"}'
            reply(200 if layout else 401, body if layout else b"{}")(handler, stranger)

        server = stranger(answer)
        assert ask(make_probe(services={"gs": server.url}), "gs://b/a")[0] == "gcp:eu"
        assert len(server.requests) == 2

    def test_bucket_whose_reader_pays(self, make_probe: MakeProbe, stranger: MakeStranger) -> None:
        """Google does not say where such a bucket is, but that the reader must pay."""
        body = b'{"error": {"message": "Bucket is a requester pays bucket but no user project"}}'
        probe = make_probe(services={"gs": stranger(reply(400, body)).url})
        store = Store.from_url("gs://b/a")
        probe.ask([store])
        answer = probe.remembered(store)
        assert answer is not None
        assert (answer.region, answer.requester_pays) == (None, True)

    def test_custom_dual_region_names_its_parts(
        self, make_probe: MakeProbe, stranger: MakeStranger
    ) -> None:
        """A bucket of two regions of its owner's choice lies in the multi-region; both are told."""
        body = (
            b'{"location": "US", "locationType": "dual-region",'
            b' "customPlacementConfig": {"dataLocations": ["US-EAST1", "US-WEST1"]}}'
        )
        probe = make_probe(services={"gs": stranger(reply(200, body)).url})
        region, evidence = ask(probe, "gs://b/a")
        assert region == "gcp:us"
        assert "'US-EAST1' and 'US-WEST1'" in evidence

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[]",
            b"{",
            b'{"location": null}',
            b'{"location": ["US"]}',
            b'{"location": "local"}',
            b'{"location": "us-west-2"}',
            b'{"location": "MOON"}',
            b"\xff\xfe",
            b"[" * 50_000,
            b'{"location": "US", "customPlacementConfig": 5}',
        ],
        ids=lambda body: repr(body[:20]),
    )
    def test_lies_are_refused(
        self, body: bytes, make_probe: MakeProbe, stranger: MakeStranger
    ) -> None:
        """What is no JSON, or names no region of Google's, is not believed."""
        probe = make_probe(services={"gs": stranger(reply(200, body)).url})
        region, evidence = ask(probe, "gs://b/a")
        assert region == ("gcp:us" if b"Placement" in body else None)
        assert evidence


class TestGoogleTokens:
    TOKEN: ClassVar = "ya29.not-to-be-shown"

    @staticmethod
    def private(handler: Any, stranger: Stranger) -> None:
        """Answer as a bucket that its users alone may see."""
        told = "authorization" in {name.lower() for name in handler.headers}
        body = b'{"location": "US-EAST1"}' if told else b"{}"
        reply(200 if told else 401, body)(handler, stranger)

    def test_private_bucket_is_asked_with_its_users_token(
        self, make_probe: MakeProbe, stranger: MakeStranger, tmp_path: Path
    ) -> None:
        """A token that is written out is sent where it was given for, after all else."""
        server = stranger(self.private)
        found = ask(make_probe(), "gs://b/a", endpoint_url=server.url, token=self.TOKEN)
        assert found[0] == "gcp:us-east1"
        sent = [headers.get("authorization") for _, _, headers in server.requests]
        assert sent == [None, None, f"Bearer {self.TOKEN}"]
        kept = "".join(path.read_text() for path in tmp_path.rglob("*.json"))
        assert self.TOKEN not in f"{kept}{found}"

    def test_valid_credentials_have_a_token(
        self, make_probe: MakeProbe, stranger: MakeStranger
    ) -> None:
        """Of an object of google-auth's the token counts, as long as it is valid."""
        google = pytest.importorskip("google.oauth2.credentials")
        server = stranger(self.private)
        token = google.Credentials(self.TOKEN)
        found = ask(make_probe(), "gs://b/a", endpoint_url=server.url, token=token)
        assert found[0] == "gcp:us-east1"

    @pytest.mark.parametrize(
        "token",
        ["anon", "google_default", "/home/me/key.json", {"private_key": "k"}, 5, "ya29.a\r\nx: y"],
        ids=lambda token: repr(token)[:16],
    )
    def test_what_is_no_token_is_not_sent(
        self, token: Any, make_probe: MakeProbe, stranger: MakeStranger
    ) -> None:
        """Ways to log in, files and keys are left to gcsfs: nobody is asked for a token."""
        server = stranger(self.private)
        assert ask(make_probe(), "gs://b/a", endpoint_url=server.url, token=token)[0] is None
        assert [headers.get("authorization") for *_, headers in server.requests] == [None, None]

    @pytest.mark.parametrize("variable", [True, False])
    def test_token_goes_to_no_other_host(
        self,
        variable: bool,
        make_probe: MakeProbe,
        stranger: MakeStranger,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A token for Google goes neither to who stands in its place nor to an emulator."""
        server = stranger(self.private)
        if variable:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        probe = make_probe() if variable else make_probe(services={"gs": server.url})
        assert ask(probe, "gs://b/a", token=self.TOKEN)[0] is None
        assert [headers.get("authorization") for *_, headers in server.requests] == [None, None]


class TestAzure:
    def test_datacentre_in_dns(self, make_probe: MakeProbe) -> None:
        """What DNS calls an account names a datacentre: a guess, and said to be one."""
        asked: list[str] = []

        def canonical_name(host: str) -> str:
            asked.append(host)
            return "blob.ams20prdstr02a.store.core.windows.net"

        probe = make_probe(canonical_name=canonical_name)
        region, evidence = ask(probe, "abfss://c@account.dfs.core.windows.net/a")
        assert (region, "a guess from DNS" in evidence) == ("azure:westeurope", True)
        assert asked == ["account.blob.core.windows.net"]
        assert ask(probe, "az://other/b", account_name="account")[0] == "azure:westeurope"
        assert len(asked) == 1

    @pytest.mark.parametrize(
        "name", ["blob.xyz20prdstr02a.store.core.windows.net", "account.example.org", ""]
    )
    def test_name_that_says_nothing(self, name: str, make_probe: MakeProbe) -> None:
        """Of an account whose servers have another name nobody knows the region."""
        probe = make_probe(canonical_name=lambda host: name)
        region, evidence = ask(probe, "az://c/a", account_name="account")
        assert (region, evidence) == (None, "Azure tells nobody where an account is")

    def test_account_that_is_not_there(self, make_probe: MakeProbe) -> None:
        """An account that DNS does not know is said to be unknown."""
        region, evidence = ask(
            make_probe(canonical_name=no_dns), "az://c/a", account_name="account"
        )
        assert (region, "DNS knows no" in evidence) == (None, True)


class TestTime:
    @pytest.mark.parametrize("answer", [hang, drip], ids=["hangs", "drips"])
    def test_server_that_hangs(
        self, answer: Any, make_probe: MakeProbe, stranger: MakeStranger
    ) -> None:
        """A server that does not answer is given up, said, and not asked again at once."""
        server = stranger(answer)
        probe = s3(make_probe, server.url, seconds=0.2)
        begun = time.monotonic()
        region, evidence = ask(probe, "s3://b/a")
        assert (region, "did not answer in" in evidence) == (None, True)
        ask(probe, "s3://b/c")
        assert len(server.requests) == 1
        assert time.monotonic() - begun < patience(5)

    def test_resolver_that_hangs(self, make_probe: MakeProbe, stranger: MakeStranger) -> None:
        """DNS that does not answer keeps nobody waiting."""
        server = stranger(hang)

        def canonical_name(host: str) -> str:
            server.over.wait(30)
            return host

        probe = make_probe(seconds=0.2, canonical_name=canonical_name)
        assert ask(probe, "az://c/a", account_name="account")[0] is None

    def test_buckets_are_asked_for_at_once(
        self, make_probe: MakeProbe, stranger: MakeStranger
    ) -> None:
        """Thirty hanging services take as long as one."""
        stores = [
            Store.from_url("s3://b/a", {"endpoint_url": stranger(hang).url}) for _ in range(30)
        ]
        probe = make_probe(seconds=0.5)
        begun = time.monotonic()
        probe.ask(stores)
        assert time.monotonic() - begun < patience(8)

    def test_each_bucket_is_asked_for_once(
        self, make_probe: MakeProbe, stranger: MakeStranger
    ) -> None:
        """However many arrays lie in a bucket, and however often they are planned."""
        server = stranger(reply(200, X_Amz_Bucket_Region="us-west-2"))
        probe = s3(make_probe, server.url)
        stores = [Store.from_url(f"s3://b/a/{n}") for n in range(20)]
        probe.ask(stores)
        probe.ask(stores)
        # Another process, with the same directory.
        s3(make_probe, server.url).ask(stores)
        assert len(server.requests) == 1
