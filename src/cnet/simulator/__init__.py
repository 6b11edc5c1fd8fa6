"""PURE: the real decisions of many agents over a simulated network, disk and time, with faults."""

from cnet.simulator.simulation import Report, run

__all__ = ["Report", "run"]
