"""Finders of sources, one module for each kind of storage."""
