"""Compute xarray graphs beside their data, across regions."""
