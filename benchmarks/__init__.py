"""Benchmarks of xr-locality, a module a question; run by asv."""
