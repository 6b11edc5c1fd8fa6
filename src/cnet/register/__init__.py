"""PURE: the ledger of room and the book of ports. No I/O, no clock, no event loop."""

from cnet.register.ledger import Allocation, Ledger
from cnet.register.ports import PortBook

__all__ = ["Allocation", "Ledger", "PortBook"]
