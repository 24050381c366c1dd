"""Read-only views of dask graphs: what they hold, how large it is, how to cut it."""
