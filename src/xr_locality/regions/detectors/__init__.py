"""Ways to know the region of a store, one a module."""
