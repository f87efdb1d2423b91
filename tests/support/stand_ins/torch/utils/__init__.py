"""Holds `data`."""
