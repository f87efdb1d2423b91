"""pandas objects as arrays, and back; pandas only."""
