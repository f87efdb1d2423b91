"""Changing a store: its lock, its next rows, and transactions that are whole or absent."""
