"""The command line."""

from ptrarray.cli.commands import main

__all__ = ["main"]
