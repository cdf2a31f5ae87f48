"""The NIST Statistical Reference Datasets for nonlinear regression, fitted with numtape.

`problems` holds the 27 data sets and their models as plain NumPy functions,
`fit` solves one of them with a Jacobian handed in, and `demo` puts the two
together with numtape's Jacobian and prints a table. Nothing is imported here,
so each of the three costs only what it needs itself, and the engine of numtape
never depends on this package.
"""
