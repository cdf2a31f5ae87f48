"""From tapes to tapes: derivatives as new tapes.

`expressions.py` evaluates the table's partials on slots, `structured.py` holds
the rules of operations with shapes, `derivative.py` walks a tape forward or
backward and puts the rules together.
"""
