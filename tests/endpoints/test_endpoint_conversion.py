"""Endpoints from what users give."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from xr_locality.endpoints import (
    AddressEndpoint,
    EmbeddedEndpoint,
    GatewayEndpoint,
    to_endpoint,
)
from xr_locality.errors import ConfigurationError
from xr_locality.regions import Region

HUB = "https://hub.example.org"


def test_none_is_only_a_name() -> None:
    """None stays None: an endpoint to plan with."""
    assert to_endpoint(None) is None


def test_an_endpoint_is_handed_back() -> None:
    """What is an endpoint already is not changed."""
    endpoint = EmbeddedEndpoint()
    assert to_endpoint(endpoint) is endpoint


@pytest.mark.parametrize("separator", ["-", "_"])
def test_a_mapping_describes_a_gateway(separator: str) -> None:
    """The configuration's keys, with '-' or '_', are the arguments of GatewayEndpoint."""
    given = {
        "gateway": HUB,
        "proxy-address": "gateway://proxy:8786",
        "public-address": "https://public",
        "auth": {"type": "jupyterhub", "api-token": "t0ken"},
        "options": {"worker-cores": 2},
        "minimum": 1,
        "maximum": 40,
        "start-timeout": "10 minutes",
    }
    assert to_endpoint(
        {key.replace("-", separator): value for key, value in given.items()}
    ) == GatewayEndpoint(
        HUB,
        proxy_address="gateway://proxy:8786",
        public_address="https://public",
        auth={"type": "jupyterhub", "api_token": "t0ken"},
        options={"worker-cores": 2},
        minimum=1,
        maximum=40,
        start_timeout=600,
    )


@pytest.mark.parametrize(
    "given", ["tls://10.0.0.7:8786", {"address": "tls://10.0.0.7:8786"}], ids=["text", "mapping"]
)
def test_an_address_is_adopted(given: Any) -> None:
    """A scheduler's address, alone or in a mapping, belongs to somebody else."""
    endpoint = to_endpoint(given)
    assert endpoint == AddressEndpoint("tls://10.0.0.7:8786")
    assert endpoint is not None
    assert endpoint.adopted
    assert endpoint.scheduler_address == "tls://10.0.0.7:8786"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gateway": HUB}, "'maximum' is missing"),
        ({"gateway": HUB, "maximun": 4, "maximum": 4}, "Did you mean 'maximum'"),
        ({"gateway": HUB, "maximum": 4, "proxy-adress": 1}, "Did you mean 'proxy-address'"),
        ({"gateway": HUB, "maximum": 4, "zzz": 1}, "It may have 'gateway', 'proxy-address'"),
        ({"gateway": HUB, "maximum": "4"}, "maximum is '4'"),
        ({"maximum": 4}, "either 'gateway' or 'address', and this has neither"),
        ({}, "Its keys are none"),
        ({"gateway": HUB, "address": "tcp://a:1", "maximum": 1}, "'gateway' and 'address'"),
        ({"address": "tcp://a:1", "maximum": 1}, "Unknown key 'maximum'"),
        ({"address": 8786}, "'address' must be text"),
        ({"address": "tls://a:1", "tls": {"ca-fil": "x"}}, "Did you mean 'ca-file'"),
        ({"address": "tls://a:1", "tls": "x"}, "'tls' must be a mapping"),
        (HUB, "is a web address"),
        ("", "not a scheduler's address"),
        ("tcp://", "not a scheduler's address"),
        ("tcp://host", "not a scheduler's address"),
        ("tcp://host:port", "not a scheduler's address"),
        ("tcp://ada:hunter2@host:1", "not a scheduler's address"),
        (42, "A 'int' is no endpoint"),
        ([HUB], "A 'list' is no endpoint"),
    ],
)
def test_refuses_with_a_reason(given: Any, message: str) -> None:
    """Whatever is no endpoint is a ConfigurationError that says what would be one."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        to_endpoint(given)
    assert "hunter2" not in str(caught.value)


def test_the_region_is_named() -> None:
    """With a region given, the message says whose endpoint is wrong, and keeps the facts."""
    region = Region.parse("aws:us-west-2")
    with pytest.raises(ConfigurationError, match="region 'aws:us-west-2': Unknown key") as caught:
        to_endpoint({"gateway": HUB, "maximum": 4, "zzz": 1}, region=region)
    assert caught.value.key == "zzz"
    assert caught.value.region == "aws:us-west-2"


def test_an_object_that_is_not_connected_is_refused() -> None:
    """A cluster without a scheduler yet cannot be adopted."""

    class Idle:
        scheduler_address = "<Not Connected>"

    with pytest.raises(ConfigurationError, match="'Idle' was given .* not connected"):
        to_endpoint(Idle())


def test_importing_endpoints_is_light() -> None:
    """Endpoints can be named, and gateways described, without distributed."""
    script = (
        "import sys\n"
        "from xr_locality.endpoints import GatewayEndpoint, to_endpoint\n"
        "to_endpoint({'gateway': 'https://hub', 'maximum': 4, 'auth': 'jupyterhub'})\n"
        "to_endpoint('tcp://127.0.0.1:8786')\n"
        "heavy = {'distributed', 'dask_gateway', 'aiohttp', 'tornado'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
