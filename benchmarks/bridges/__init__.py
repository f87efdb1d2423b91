"""The arrays of a store in other libraries, beside what people do today: a module a subject.

A module is made like those of `benchmarks.users`: a docstring, the sizes `N` and `REPEAT`, and
``questions(folder, n)``. What has to be reached as a number and not as a multiple of what another
tool takes is the way `LIMIT` of a question: `at_most` makes one.
"""
