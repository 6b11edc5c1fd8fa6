"""CNET: run processes and machine-learning services on machines in several places."""

__version__ = "0.1.0"

DEFAULT_URL = "http://127.0.0.1:8080"
"""Where an agent is unless it was configured otherwise."""

__all__ = ["DEFAULT_URL", "__version__"]
