"""Sparse derivatives: which inputs outputs depend on, and tapes whose outputs are the nonzeros.

It knows flat tapes; arguments and trees are not known here.
"""
