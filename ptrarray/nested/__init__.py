"""Nested objects: a skeleton of tokens, and arrays that are written from where they are."""

from ptrarray.nested.persistence import classes_in, dump, load

__all__ = ["classes_in", "dump", "load"]
