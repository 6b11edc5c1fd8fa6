"""Tools for people who work on CNET; no part of the package."""
