"""Both arms of tests on traced values: a function's source rewritten, and what it then calls.

`lowering.py` and its neighbours write trees; `arms.py` runs what they write while a function is
recorded; `admission.py` says what may be called in an arm.
"""
