"""Benchmarks: they print the tables of ``docs/results.md``."""
