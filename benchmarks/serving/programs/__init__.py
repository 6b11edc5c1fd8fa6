"""What the peers run, each in its own environment; nothing of CNET is imported here."""
