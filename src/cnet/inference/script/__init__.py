"""Models that a script of the user's own answers for."""
