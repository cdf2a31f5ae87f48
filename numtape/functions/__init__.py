"""What users call: `grad` and its like, tapes with methods, recordings kept by path."""
