"""What those who run gateways configure for all: the hub's own, allowed regions, the way there."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dask
import dask.array as da

# Its defaults must be there before a test sets others, or they go with those.
import dask_gateway  # noqa: F401
import pytest

import xr_locality as xl
from support.endpoint_doubles import WEST, fake_gateway
from xr_locality.endpoints import GatewayEndpoint, to_endpoint
from xr_locality.errors import ConfigurationError, EndpointError, LocalityErrorGroup
from xr_locality.regions import Region
from xr_locality.regions.allowed import Allowed
from xr_locality.testing import Testbed

Run = Callable[[Coroutine[Any, Any, Any]], Any]

HUB = "https://hub.example.org/services/dask-gateway"
OPTIONS = ("GET", "/api/v1/options")
NO_OPTIONS = (200, {"cluster_options": []})


class TestHubsOwn:
    def test_everything_comes_from_the_section(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Address, proxy, sign-in and options are those that dask-gateway is configured with."""
        monkeypatch.setenv("IMAGE", "our/image:1")
        section = {
            "address": HUB,
            "proxy-address": "gateway://hub.example.org:8786",
            "public-address": "/services/dask-gateway",
            "auth": {"type": "jupyterhub", "kwargs": {"api-token": "t0ken"}},
            "cluster": {"options": {"image": "{IMAGE}", "worker_cores": 2}},
            "http-client": {"proxy": False},
        }
        with dask.config.set(gateway=section):
            endpoint = to_endpoint(
                {"gateway": "default", "maximum": 40, "options": {"worker_cores": 4}}
            )
        assert endpoint == GatewayEndpoint(
            HUB,
            proxy_address="gateway://hub.example.org:8786",
            auth={"type": "jupyterhub", "api_token": "t0ken"},
            options={"image": "our/image:1", "worker_cores": 4},
            maximum=40,
            http_proxy=False,
        )

    def test_the_environment_alone(self) -> None:
        """A hub that sets DASK_GATEWAY__ADDRESS has said enough."""
        env = {"DASK_GATEWAY__ADDRESS": HUB, "DASK_GATEWAY__PROXY_ADDRESS": "8786"}
        with dask.config.set(dask.config.collect(paths=[], env=env)):
            endpoint = to_endpoint({"gateway": "default", "maximum": 4})
        assert isinstance(endpoint, GatewayEndpoint)
        assert endpoint.address == HUB
        assert endpoint.proxy_address == "gateway://hub.example.org:8786"

    def test_what_is_given_wins(self) -> None:
        """The endpoint's own settings win over the section's."""
        with dask.config.set(gateway={"address": HUB, "auth": {"type": "jupyterhub"}}):
            endpoint = to_endpoint(
                {"gateway": "default", "maximum": 4, "auth": {"type": "kerberos"}}
            )
        assert isinstance(endpoint, GatewayEndpoint)
        assert endpoint.auth.type == "kerberos"

    def test_no_section(self) -> None:
        """Without one the error says what to set."""
        with (
            dask.config.set(gateway={"address": None}),
            pytest.raises(ConfigurationError, match="DASK_GATEWAY__ADDRESS"),
        ):
            to_endpoint({"gateway": "default", "maximum": 4}, region=WEST)

    def test_variable_that_is_not_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A template without its variable is refused by name."""
        monkeypatch.delenv("NO_SUCH_VARIABLE", raising=False)
        with (
            dask.config.set(gateway={"address": "https://{NO_SUCH_VARIABLE}/"}),
            pytest.raises(ConfigurationError, match=r"gateway\.address .*NO_SUCH_VARIABLE"),
        ):
            to_endpoint({"gateway": "default", "maximum": 4})

    def test_answers(self, clean_testbed: Testbed) -> None:
        """A real gateway named by that section alone can be used."""
        gateway = clean_testbed["aws:us-west-2"].gateway
        auth = {**gateway.auth}
        section = {
            "gateway.address": gateway.address,
            "gateway.proxy-address": gateway.proxy_address,
            "gateway.auth": {"type": auth.pop("type"), "kwargs": auth},
        }
        with (
            dask.config.set(section),
            xl.Session({"aws:us-west-2": {"gateway": "default", "maximum": 1}}) as session,
        ):
            session.check()


class TestAllowedRegions:
    @pytest.mark.parametrize(
        ("names", "region", "permitted"),
        [
            (None, "aws:eu-west-1", True),
            (["aws:us-west-2"], "aws:us-west-2", True),
            (["aws:us-west-2"], "aws:us-east-1", False),
            (["aws:*"], "aws:us-east-1", True),
            (["aws:*"], "gcp:us-central1", False),
            (["gcp:us"], "gcp:us-central1", True),
            ([], "aws:us-west-2", False),
            ([], "local", True),
        ],
    )
    def test_permits(self, names: list[str] | None, region: str, permitted: bool) -> None:
        """Regions, what multi-regions contain, and all of a provider's; this machine always."""
        assert Allowed.parse(names).permits(Region.parse(region)) is permitted

    def test_endpoints_elsewhere_are_refused_together(self) -> None:
        """A session with endpoints in other regions is refused, all of them named."""
        with pytest.raises(LocalityErrorGroup) as caught:
            xl.Session(
                {"aws:us-west-2": None, "aws:eu-west-1": None, "gcp:europe-west1": None},
                allowed_regions=["aws:us-west-2"],
            )
        assert "'aws:eu-west-1' is not allowed" in str(caught.value)
        assert "'gcp:europe-west1' is not allowed" in str(caught.value)
        assert "'aws:us-west-2' is not allowed" not in str(caught.value)

    def test_plans_for_others_are_refused(self) -> None:
        """Nor does the planner take an endpoint that is only named."""
        array = xl.tag(da.ones(4), "aws:eu-west-1")
        with (
            xl.Session({"aws:us-west-2": None}, allowed_regions=["aws:us-west-2"]) as session,
            pytest.raises(ConfigurationError, match="not allowed"),
        ):
            session.plan(array, endpoints={"aws:eu-west-1": None})

    def test_one_plan_may_be_narrower(self) -> None:
        """A plan with fewer regions uses no endpoint of the others."""
        array = xl.tag(da.ones(4), "gcp:us-central1")
        both = {"aws:us-west-2": None, "gcp:us-central1": None}
        with xl.Session(both) as session:
            assert session.plan(array).regions == (Region.parse("gcp:us-central1"),)
            with pytest.raises(EndpointError, match="gcp:us-central1"):
                session.plan(array, allowed_regions=["aws:us-west-2"])
            with pytest.raises(ConfigurationError, match="not allowed"):
                session.plan(array, allowed_regions=[])


def certificates(directory: Path) -> tuple[Path, ssl.SSLContext]:
    """Make an authority of our own, and a server's context with a certificate by it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.now(UTC)

    def build(name: str, key: Any, issuer: str, signer: Any, *extensions: Any) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
                critical=False,
            )
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        signed: bytes = builder.sign(signer, hashes.SHA256()).public_bytes(
            serialization.Encoding.PEM
        )
        return signed

    authority, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    may_sign = x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage)
    ca_file, cert, key = (directory / name for name in ("ca.pem", "cert.pem", "key.pem"))
    ca_file.write_bytes(
        build(
            "our authority",
            authority,
            "our authority",
            authority,
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (may_sign, True),
            (x509.SubjectKeyIdentifier.from_public_key(authority.public_key()), False),
        )
    )
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    cert.write_bytes(build("localhost", server, "our authority", authority, (names, False)))
    key.write_bytes(
        server.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    return ca_file, context


class TestPrivateAuthority:
    def test_is_trusted_where_it_is_named(self, run: Run, tmp_path: Path) -> None:
        """A gateway with a certificate of a site's own answers with ca_file, and only then."""
        ca_file, tls = certificates(tmp_path)

        async def body() -> None:
            async with fake_gateway({OPTIONS: NO_OPTIONS}, tls=tls) as fake:
                trusting = to_endpoint(
                    {"gateway": fake.address, "ca-file": str(ca_file), "maximum": 1}
                )
                assert trusting is not None
                await trusting.preflight(region=WEST)
                asked = len(fake.asked)
                with pytest.raises(EndpointError, match="cannot be reached.*certificate"):
                    await GatewayEndpoint(fake.address, maximum=1).preflight(region=WEST)
                assert len(fake.asked) == asked

        run(body())

    def test_file_that_is_none(self, run: Run, tmp_path: Path) -> None:
        """A file that is not there, or holds no certificate, is named."""
        endpoint = GatewayEndpoint(HUB, maximum=1, ca_file=tmp_path / "nowhere.pem")
        with pytest.raises(ConfigurationError, match=r"nowhere\.pem.*cannot be used"):
            run(endpoint.preflight(region=WEST))


class TestHttpProxy:
    ADDRESS = "http://gateway.example.invalid"

    def ask_through(self, run: Run, proxied: Callable[[str], GatewayEndpoint]) -> list[str]:
        """Ask for options by way of a proxy; return the heads of what it was sent."""

        async def body() -> list[str]:
            answers = {("GET", f"{self.ADDRESS}/api/v1/options"): NO_OPTIONS}
            async with fake_gateway(answers) as fake:
                server = proxied(fake.address).server(WEST)
                try:
                    await server.options({})
                finally:
                    await server.close()
                return fake.heads

        heads: list[str] = run(body())
        return heads

    def test_of_the_endpoint(self, run: Run) -> None:
        """The API is asked through the proxy that is named, with its own password."""

        def proxied(proxy: str) -> GatewayEndpoint:
            with_password = proxy.replace("://", "://ada:pr0xy-password@")
            endpoint = GatewayEndpoint(self.ADDRESS, maximum=1, http_proxy=with_password)
            assert "pr0xy-password" not in f"{endpoint!r} {endpoint}"
            return endpoint

        (head,) = self.ask_through(run, proxied)
        assert "Proxy-Authorization: Basic " in head

    def test_of_the_environment(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """By default the environment's proxy is used, as curl does."""

        def proxied(proxy: str) -> GatewayEndpoint:
            monkeypatch.setenv("http_proxy", proxy)
            return GatewayEndpoint(self.ADDRESS, maximum=1)

        assert len(self.ask_through(run, proxied)) == 1

    def test_none(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """With False the environment's proxy is passed by."""

        async def body() -> list[str]:
            async with fake_gateway({}) as fake:
                monkeypatch.setenv("http_proxy", fake.address)
                server = GatewayEndpoint(self.ADDRESS, maximum=1, http_proxy=False).server(WEST)
                try:
                    with pytest.raises(EndpointError, match="cannot be reached"):
                        await server.options({})
                finally:
                    await server.close()
                return fake.heads

        assert run(body()) == []

    def test_the_global_one_is_left_alone(self, run: Run) -> None:
        """Trap 1: a proxy configured for another gateway is not this one's."""

        async def body() -> None:
            async with fake_gateway({OPTIONS: NO_OPTIONS}) as fake:
                server = GatewayEndpoint(fake.address, maximum=1).server(WEST)
                try:
                    await server.options({})
                finally:
                    await server.close()

        with dask.config.set({"gateway.http-client.proxy": "http://127.0.0.1:1"}):
            run(body())

    @pytest.mark.parametrize("wrong", ["proxy.example.org:3128", "socks5://proxy", 3128])
    def test_wrong(self, wrong: Any) -> None:
        """What is no HTTP proxy is refused, without showing it."""
        with pytest.raises(ConfigurationError, match="http_proxy"):
            GatewayEndpoint(self.ADDRESS, maximum=1, http_proxy=wrong)


def test_options_take_the_users_name(
    clean_testbed: Testbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An option for an image or a cost tag may name a variable, such as the hub's user."""
    monkeypatch.setenv("JUPYTERHUB_USER", "ada")
    options = {"cost_tag": "ocean-$JUPYTERHUB_USER", "image": "our/image:1"}
    given = {"aws:us-west-2": {"gateway": HUB, "maximum": 1, "options": options}}
    with dask.config.set({"locality.endpoints": given}):
        endpoint: Any = xl.Session()._endpoints[WEST]
    assert endpoint.options == {"cost_tag": "ocean-ada", "image": "our/image:1"}
