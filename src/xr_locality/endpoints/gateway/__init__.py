"""Dask Gateways: credentials, requests, and the clusters that they start."""
