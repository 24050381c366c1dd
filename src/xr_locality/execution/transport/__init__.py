"""Boundary values on their way from region to region."""
