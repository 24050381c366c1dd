"""Checks of clusters and sources before the first task is sent."""
