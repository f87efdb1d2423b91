"""How a release is made: ``python -m release``, by ``make release``.

What is built comes from a commit alone, is looked into, installed on the oldest and the newest Python
and packages that are promised, and tried there. Nothing is tagged or uploaded. Each check returns
what is wrong as a list of texts, so that all of it is told at once.
"""
