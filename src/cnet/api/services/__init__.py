"""`/services/{name}/…`: requests carried to a ready replica of a service, wherever it runs."""

from cnet.api.services.replicas import Carrier, Directory, Replica
from cnet.api.services.routes import ServiceRoutes

__all__ = ["Carrier", "Directory", "Replica", "ServiceRoutes"]
