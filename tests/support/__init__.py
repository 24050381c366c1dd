"""Oracles, programs and strategies that only tests of this project use."""
