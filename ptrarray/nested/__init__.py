"""Nested objects: a skeleton of tokens, and arrays that are written from where they are."""

from ptrarray.nested.persistence import dump, load

__all__ = ["dump", "load"]
