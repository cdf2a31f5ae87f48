"""Recording: traced values that stand in for floats and arrays, and what they write."""
