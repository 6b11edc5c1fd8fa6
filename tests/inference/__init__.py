"""Tests of the real program `cnet-inference`, and the small models they serve."""
