"""Stores while they are looked at: again and again, and in a browser."""
