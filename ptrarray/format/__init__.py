"""Bytes to structures and back, exactly as docs/FORMAT.md; no files."""
