"""Where tasks run: prices, the problem as numbers, and its solution. Knows no dask."""
