"""Nested objects: a skeleton of tokens, and arrays that are written from where they are."""
