"""`/services/{name}/…`: requests carried to a ready replica of a service, wherever it runs."""

from cnet.api.services.replicas import Carrier, Directory, Replica, Routed, Share
from cnet.api.services.routes import ServiceRoutes

__all__ = ["Carrier", "Directory", "Replica", "Routed", "ServiceRoutes", "Share"]
