"""Supervision with real processes."""
