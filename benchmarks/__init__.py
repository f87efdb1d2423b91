"""Measurements: each a module to run, with its sizes on top."""
