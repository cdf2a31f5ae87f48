"""The operations numtape knows, each described once.

`table` holds one row per elementwise operation; `structured` holds the few
operations that have shapes (reductions, products, sums by index). Everything
else in numtape derives from these two modules.
"""
