"""Random NumPy programs, and every way that numtape has of running them, compared.

`programs` writes them, `compare` runs them, `regressions` keeps those that once
disagreed. ``python -m tests.agreement --cases N --seed S`` runs many by hand.
"""
