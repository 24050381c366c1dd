"""Sizes, in bytes, of the values that tasks return."""
