"""Measurements: `python -m benchmarks --help` lists them, README.md says how to add one."""
