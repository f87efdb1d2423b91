"""Special questions: a module each, that asks one and prints a table.

A module has a docstring, whose first line is its help; the sizes `N` and `REPEAT`, which can be
chosen on the command line; and ``study(folder, n, repeat)``, which yields lines of Markdown.
"""
