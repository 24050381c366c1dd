"""Endpoints: the scheduler of a region, its connection, and the pool of both."""

from xr_locality.endpoints.address import AddressEndpoint
from xr_locality.endpoints.connection import Connection, ConnectionState
from xr_locality.endpoints.conversion import to_endpoint, to_endpoints
from xr_locality.endpoints.embedded import EmbeddedEndpoint
from xr_locality.endpoints.endpoint import Endpoint
from xr_locality.endpoints.gateway.gateway_endpoint import GatewayEndpoint
from xr_locality.endpoints.pool import EndpointPool

__all__ = [
    "AddressEndpoint",
    "Connection",
    "ConnectionState",
    "EmbeddedEndpoint",
    "Endpoint",
    "EndpointPool",
    "GatewayEndpoint",
    "to_endpoint",
    "to_endpoints",
]
