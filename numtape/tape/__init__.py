"""The tape itself: flat arrays of instructions, and how to read them as text."""
