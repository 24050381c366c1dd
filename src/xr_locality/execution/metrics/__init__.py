"""Counts of bytes, tasks and seconds of a run, and what is made of them."""
