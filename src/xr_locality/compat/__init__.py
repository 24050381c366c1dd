"""Adapters for private and undocumented names of other projects, one module a project."""
