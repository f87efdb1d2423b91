"""Several stores that open as one."""
