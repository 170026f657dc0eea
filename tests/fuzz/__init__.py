"""Inputs that nobody thought of, by the million: `make fuzz`. What it found is a test beside the module that it was found in."""
