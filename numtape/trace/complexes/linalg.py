"""`numpy.linalg` of complex matrices."""
