"""Tasks in worker processes."""
