"""Thousands of generated requests against a running agent (marker `fuzz`)."""
