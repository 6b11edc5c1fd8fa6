"""Figures for the goals: each module measures one thing and prints it."""

import signal
import sys

# Whoever ends a benchmark ends its agents: `finally` is run for an exit, not for a signal.
signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
