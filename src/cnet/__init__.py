"""CNET: run processes and machine-learning services on machines in several places."""

__version__ = "0.1.0"

__all__ = ["__version__"]
