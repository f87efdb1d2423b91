"""What users of other tools do, with their own tool and with ptrarray: a module a user.

A module has a docstring, whose first line says who that is; the sizes `N` and `REPEAT`; and
``questions(folder, n)``, which makes what is there beforehand and yields `Question` after
`Question`.
"""
