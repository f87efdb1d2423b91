"""Pickles read without calling anything they name."""
