"""Files of others that become a store, beside their own libraries: a module a format.

A module is made like those of `benchmarks.users`: a docstring, the sizes `N` and `REPEAT`, and
``questions(folder, n)``. `passage.door` makes a question of a file that the library wrote, and two
ways to read it.
"""
