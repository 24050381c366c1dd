"""Threads, event loops, cancellation, files of the user: what other parts stand on."""
