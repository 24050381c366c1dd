"""Dask Gateways: signing in, asking for clusters, stopping them."""
