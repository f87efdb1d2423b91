"""The machine: files, locks, mappings, streams; the only floor that makes system calls."""
