"""Asking clouds where a bucket lies, within bounded time."""
