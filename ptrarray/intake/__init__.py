"""What callers give, made ready before any lock is taken."""
