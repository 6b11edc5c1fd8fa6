"""Services: replicas of one workload under one name, replaced, scaled and shared requests."""

from cnet.services.scaling import Scaling
from cnet.services.service import Service
from cnet.services.services import Services

__all__ = ["Scaling", "Service", "Services"]
