"""Stores on a web server, measured: requests, bytes, round trips, time and memory, beside other formats."""
